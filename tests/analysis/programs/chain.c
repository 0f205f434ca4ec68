/* One way to die per argument, each a few calls deep, with two idle threads beside it. */
#define _GNU_SOURCE
#include <alloca.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#ifndef NO_CONTEXT
#include <ucontext.h>
#endif
#include <unistd.h>

#define KEEP __attribute__((noinline, noclone))
#define STAY() __asm__ volatile("" ::: "memory")

static volatile int zero;
static void (*volatile nowhere)(void);
static int (*volatile compare)(const void *, const void *);

KEEP static void *idle(void *argument)
{
    (void)argument;
    for (;;)
        pause();
    return NULL;
}

KEEP static void spin(volatile unsigned *go)
{
    while (*go)
        STAY();
}

KEEP static void write_to_null(void)
{
    *(volatile int *)(long)zero = 1;
    STAY();
}

KEEP static void on_signal(int signal)
{
    (void)signal;
    abort();
}

KEEP static void raise_in_handler(void)
{
    signal(SIGUSR1, on_signal);
    raise(SIGUSR1);
    STAY();
}

KEEP static void fault_in_handler(void)
{
    signal(SIGSEGV, on_signal);
    write_to_null();
    STAY();
}

KEEP static int overflow(int depth)
{
    volatile char room[4096];
    room[0] = (char)depth;
    return overflow(depth + 1) + room[0];
}

KEEP static void call_null(void)
{
    nowhere();
    STAY();
}

KEEP static void call_wild(void)
{
    nowhere = (void (*)(void))0x1234567890;
    nowhere();
    STAY();
}

KEEP static void call_data(void)
{
    nowhere = (void (*)(void))mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    nowhere();
    STAY();
}

KEEP static int refuse(const void *a, const void *b)
{
    (void)a, (void)b;
    abort();
}

KEEP static void in_callback(void)
{
    int values[64];
    for (int i = 0; i < 64; i++)
        values[i] = 64 - i;
    compare = refuse;
    qsort(values, 64, sizeof values[0], compare);
    STAY();
}

KEEP static void dynamic_frame(int size)
{
    char *room = alloca((size_t)size * 3 + 17);
    memset(room, size, (size_t)size);
    double aligned[8] __attribute__((aligned(64)));
    for (int i = 0; i < 8; i++)
        aligned[i] = room[i % size];
    STAY();
    if (aligned[1] > 0)
        abort();
}

#ifndef NO_CONTEXT
static ucontext_t home, away;

KEEP static void coroutine(void)
{
    write_to_null();
}

KEEP static void in_context(void)
{
    getcontext(&away);
    away.uc_stack.ss_sp = malloc(65536);
    away.uc_stack.ss_size = 65536;
    away.uc_link = &home;
    makecontext(&away, coroutine, 0);
    swapcontext(&home, &away);
}
#else
static void in_context(void)
{
}
#endif

KEEP static void smash(void)
{
    volatile unsigned long words[4];
    for (int i = 0; i < 12; i++)
        words[i] = 0x4141414141414141UL;
    STAY();
}

KEEP static void alternate_stack(int how)
{
    stack_t stack = {.ss_sp = malloc(1 << 16), .ss_size = 1 << 16};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    sigaltstack(&stack, NULL);
    sigaction(SIGSEGV, &action, NULL);
    if (how)
        overflow(1);
    else
        write_to_null();
}

KEEP static void failing_string(void)
{
    if (strlen((char *)(long)zero) == 3)
        puts("never");
    STAY();
}

KEEP static void die(const char *how)
{
    if (!strcmp(how, "null"))
        write_to_null();
    else if (!strcmp(how, "abort"))
        abort();
    else if (!strcmp(how, "raise-in-handler"))
        raise_in_handler();
    else if (!strcmp(how, "fault-in-handler"))
        fault_in_handler();
    else if (!strcmp(how, "overflow"))
        overflow(1);
    else if (!strcmp(how, "call-null"))
        call_null();
    else if (!strcmp(how, "call-wild"))
        call_wild();
    else if (!strcmp(how, "call-data"))
        call_data();
    else if (!strcmp(how, "callback"))
        in_callback();
    else if (!strcmp(how, "dynamic"))
        dynamic_frame(100);
    else if (!strcmp(how, "context"))
        in_context();
    else if (!strcmp(how, "smash"))
        smash();
    else if (!strcmp(how, "altstack"))
        alternate_stack(0);
    else if (!strcmp(how, "altstack-overflow"))
        alternate_stack(1);
    else if (!strcmp(how, "string"))
        failing_string();
    else
        spin((volatile unsigned *)how);
    STAY();
}

int main(int argc, char **argv)
{
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, idle, NULL);
    usleep(20000);
    die(argc > 1 ? argv[1] : "null");
    return 0;
}
