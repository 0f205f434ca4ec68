// A nil map write in one goroutine while others wait.
package main

import (
	"fmt"
	"sync"
	"time"
)

type shop struct{ prices map[string]int }

//go:noinline
func (s *shop) set(name string, price int) { s.prices[name] = price }

//go:noinline
func fill(s *shop) {
	for i := 0; i < 3; i++ {
		s.set(fmt.Sprint("item", i), i)
	}
}

func main() {
	var wait sync.WaitGroup
	for i := 0; i < 4; i++ {
		wait.Add(1)
		go func() { time.Sleep(time.Hour); wait.Done() }()
	}
	time.Sleep(10 * time.Millisecond)
	fill(&shop{})
	wait.Wait()
}
