/* mappings COUNT: COUNT mappings of a page each, no two of which the kernel can join; then abort(). */
#include "ready.h"

#include <sys/mman.h>

int main(int argc, char **argv)
{
	long count = argc > 1 ? atol(argv[1]) : 0;
	char *memory = mmap(NULL, (size_t)count * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return 2;
	for (long i = 0; i < count; i++) {
		memory[i * 4096] = 1;
		if (i % 2 && mprotect(memory + i * 4096, 4096, PROT_READ))
			return 2;
	}
	hold();
	abort();
}
