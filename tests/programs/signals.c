/* Dies by the signal that argv[1] names, the way such a signal comes about in real life. */
#include "ready.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define BAD_ADDRESS 0x1234567000 /* lies in no mapping; tests expect it as the fault address */

static void by_quit(void) { kill(getpid(), SIGQUIT); }

static void by_abort(void) { abort(); }

/* The pointers are volatile: a compiler may leave out what it knows to be undefined. */
static volatile int *volatile nowhere = NULL;
static volatile int *volatile bad_address = (volatile int *)BAD_ADDRESS;
static volatile int *volatile noncanonical = (volatile int *)0xdead00000000beef;

__attribute__((noinline)) static void by_null(void) { *nowhere = 1; }

static void by_address(void) { *bad_address = 1; }

/* x86: not canonical, so the processor reports no address and the kernel says SI_KERNEL. */
static void by_noncanonical(void) { *noncanonical = 1; }

static void by_read_only(void)
{
	volatile char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*page = 1;
}

static void by_call_null(void)
{
	void (*volatile nothing)(void) = NULL;

	nothing();
}

static void by_call_data(void)
{
	static char data[16] = "not code";

	((void (*)(void))(void *)data)();
}

static void by_illegal(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__asm__ volatile("ud2");
#else
	__builtin_trap();
#endif
}

static void by_breakpoint(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__asm__ volatile("int3");
#elif defined(__aarch64__)
	__asm__ volatile("brk #0");
#else
	raise(SIGTRAP);
#endif
}

static void by_division(void)
{
#if defined(__x86_64__) || defined(__i386__)
	volatile int one = 1, zero = 0;

	one = one / zero;
#else
	raise(SIGFPE); /* the processor's division does not trap */
#endif
}

/* Beyond the last page of a file that has become shorter. */
static void by_bus(void)
{
	char name[] = "/tmp/bus-XXXXXX";
	int fd = mkstemp(name);
	volatile char *page;

	unlink(name);
	if (ftruncate(fd, 4096))
		return;
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (ftruncate(fd, 0))
		return;
	*page = 1;
}

/* A system call that a seccomp filter refuses: getppid(2). */
static void by_seccomp(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(*filter), filter };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0)
		syscall(__NR_getppid);
}

static void by_cpu_time(void)
{
	struct rlimit limit = { 1, 60 };

	setrlimit(RLIMIT_CPU, &limit);
	for (;;)
		;
}

static void by_file_size(void)
{
	struct rlimit limit = { 4096, 4096 };
	char page[8192] = "";
	char name[] = "/tmp/size-XXXXXX";
	int fd = mkstemp(name);

	unlink(name);
	setrlimit(RLIMIT_FSIZE, &limit);
	if (write(fd, page, sizeof(page)) == 4096)
		(void)!write(fd, page, 1);
}

/* Not a crash on today's kernels: a system call that does not exist returns ENOSYS. */
static void by_no_syscall(void)
{
	errno = 0;
	if (syscall(999) == -1 && errno == ENOSYS)
		exit(0);
}

static int depth(int n)
{
	volatile char frame[1024];

	frame[0] = (char)n;
	return n < 0 ? 0 : depth(n + 1) + frame[0];
}

static void by_overflow(void) { exit(depth(0)); }

static void abort_in_handler(int number)
{
	(void)number;
	abort();
}

/* The stack overflows; the handler runs, and dies, on an alternate stack. */
static void by_overflow_on_alternate_stack(void)
{
	stack_t stack = { .ss_sp = malloc(65536), .ss_size = 65536 };
	struct sigaction action = { .sa_handler = abort_in_handler, .sa_flags = SA_ONSTACK };

	sigaltstack(&stack, NULL);
	sigaction(SIGSEGV, &action, NULL);
	by_overflow();
}

static void *write_null(void *unused)
{
	prctl(PR_SET_NAME, "culprit");
	by_null();
	return unused;
}

static void by_thread(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, write_null, NULL);
	pthread_join(thread, NULL);
}

static void *write_null_alone(void *unused)
{
	char exe[1];

	while (readlink("/proc/self/exe", exe, sizeof exe) >= 0)
		usleep(1000);
	return write_null(unused);
}

/* The main thread is gone already when another one crashes. */
static void by_thread_alone(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, write_null_alone, NULL);
	pthread_exit(NULL);
}

static void by_sleep(void) { pause(); }

static const struct {
	const char *name;
	void (*die)(void);
} ways[] = {
	{ "quit", by_quit },
	{ "abort", by_abort },
	{ "null", by_null },
	{ "address", by_address },
	{ "noncanonical", by_noncanonical },
	{ "read-only", by_read_only },
	{ "call-null", by_call_null },
	{ "call-data", by_call_data },
	{ "illegal", by_illegal },
	{ "breakpoint", by_breakpoint },
	{ "division", by_division },
	{ "bus", by_bus },
	{ "seccomp", by_seccomp },
	{ "cpu-time", by_cpu_time },
	{ "file-size", by_file_size },
	{ "no-syscall", by_no_syscall },
	{ "overflow", by_overflow },
	{ "alternate-stack", by_overflow_on_alternate_stack },
	{ "thread", by_thread },
	{ "thread-alone", by_thread_alone },
	{ "sleep", by_sleep },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++)
		if (argc > 1 && strcmp(argv[1], ways[i].name) == 0) {
			hold();
			ways[i].die();
		}
	return 2;
}
