/* Dies in the C library, which says why on stderr and keeps that for whoever reads the core: argv[1] names the way. */
#include "ready.h"

#include <assert.h>
#include <string.h>

static void *volatile block;
static char *volatile text;
static volatile int months = 13;

__attribute__((noinline)) static void by_double_free(void)
{
	block = malloc(24);
	free(block);
	free(block);
}

__attribute__((noinline)) static void by_assertion(void) { assert(months <= 12); }

/* Writes over the canary of its own frame. */
__attribute__((noinline, optimize("stack-protector-strong"))) static void by_smashing(void)
{
	char name[8];

	text = name;
	memset(text, 'A', 32);
}

int main(int argc, char **argv)
{
	const char *way = argc > 1 ? argv[1] : "";

	hold();
	if (strcmp(way, "double-free") == 0)
		by_double_free();
	else if (strcmp(way, "assertion") == 0)
		by_assertion();
	else if (strcmp(way, "smashing") == 0)
		by_smashing();
	return 1;
}
