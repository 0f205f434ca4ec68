/*
 * threads COUNT MIB CONTENTS [WAY]: COUNT threads (the main one among them) with known stacks, names, globals and
 * thread-locals, MIB of memory with CONTENTS (contents.h), then death of the main thread by WAY: abort (default) or null.
 *
 * Thread i of 1..COUNT-1 is called worker-i, stands i frames deep in descend(), and has known_local == 1000 + i.
 */
#include "ready.h"

#include "contents.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>

volatile uint64_t known_global = 0x1122334455667788;
__thread volatile uint64_t known_local = 1000;
static volatile int *volatile nowhere = NULL; /* volatile: the compiler must not see through it */
unsigned char *known_memory;
uint64_t known_size;

static pthread_barrier_t all_are_deep;

__attribute__((noinline)) static void wait_at_the_bottom(void)
{
	pthread_barrier_wait(&all_are_deep);
	for (;;)
		pause();
}

__attribute__((noinline)) static int descend(long left, long number)
{
	volatile long known_argument = number;

	if (left == 0)
		wait_at_the_bottom();
	return left ? descend(left - 1, number) + (int)known_argument : 0;
}

static void *worker(void *argument)
{
	long number = (long)argument;
	char name[16];

	snprintf(name, sizeof(name), "worker-%ld", number);
	prctl(PR_SET_NAME, name);
	known_local = 1000 + (uint64_t)number;
	descend(number % 16, number);
	return NULL;
}

__attribute__((noinline)) static void crash_here(const char *way)
{
	if (strcmp(way, "null") == 0)
		*nowhere = 1;
	abort();
}

int main(int argc, char **argv)
{
	const char *way = argc > 4 ? argv[4] : "abort";
	pthread_attr_t small;
	long count;

	if (argc < 4)
		return 2;
	count = atol(argv[1]);
	known_size = strtoull(argv[2], NULL, 10) << 20;
	if (known_size) {
		known_memory = mmap(NULL, known_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (known_memory == MAP_FAILED || !fill(known_memory, known_size, argv[3]))
			return 2;
	}
	pthread_barrier_init(&all_are_deep, NULL, (unsigned)count);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 256 << 10);
	for (long i = 1; i < count; i++) {
		pthread_t thread;

		if (pthread_create(&thread, &small, worker, (void *)i))
			return 2;
	}
	pthread_barrier_wait(&all_are_deep);
	hold();
	crash_here(way);
}
