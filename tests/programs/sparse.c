/* sparse GIB PAGES: GIB of address space, of which PAGES pages, spread evenly, were touched; then abort(). */
#include "ready.h"

#include <stdint.h>
#include <sys/mman.h>

int main(int argc, char **argv)
{
	uint64_t size, pages;
	unsigned char *memory;

	if (argc < 3)
		return 2;
	size = strtoull(argv[1], NULL, 10) << 30;
	pages = strtoull(argv[2], NULL, 10);
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return 2;
	for (uint64_t i = 0; i < pages; i++)
		*(uint64_t *)(memory + i * (size / pages)) = 0xfeed000000000000 + i;
	hold();
	abort();
}
