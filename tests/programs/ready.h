/* What all programs share: they say when they are set up, and hold still until they are told to go on. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Says "ready" on stdout; returns when a byte, or the end, comes on stdin. Until then nothing of us changes. */
static inline void hold(void)
{
	char go;

	puts("ready");
	fflush(stdout);
	while (read(STDIN_FILENO, &go, 1) < 0)
		;
}
