/*
 * What the memory of a real process looks like to a compressor. Reproducible: the same size and seed give
 * the same bytes.
 *
 * `mixed` is made of pages; of 64 on the average, 11 hold text, 14 pointers, 10 small numbers, 21 zeros (written, so
 * that the pages exist) and 8 random bytes (what is encrypted or compressed already). zstd -3 keeps 30 % of it.
 */
#include <stdint.h>
#include <string.h>

#define PAGE 4096

static uint64_t seed = 0x9e3779b97f4a7c15;

static inline uint64_t next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void fill_random(unsigned char *page)
{
	for (int i = 0; i < PAGE; i += 8) {
		uint64_t value = next_random();

		memcpy(page + i, &value, 8);
	}
}

static void fill_text(unsigned char *page)
{
	static const char *const words[] = {
		"the ", "connection ", "was ", "closed ", "by ", "peer\n", "GET ", "/index.html ", "HTTP/1.1\n",
		"Host: ", "example.org\n", "value=", "\"name\": ", "null, ", "true, ", "error ", "in ", "module ",
		"request ", "took ", "ms\n", "user ", "admin ", "of ", "and ", "to ", "a ", "is ", "for ", "not ",
		"found\n", "0x",
	};
	size_t at = 0;

	while (at < PAGE) {
		uint64_t value = next_random();
		const char *word = words[value % 32];
		size_t length = strlen(word);
		char number[24];

		if ((value >> 8) % 4 == 0) {
			length = (size_t)snprintf(number, sizeof(number), "%u ", (unsigned)(value >> 32) % 100000);
			word = number;
		}
		if (length > PAGE - at)
			length = PAGE - at;
		memcpy(page + at, word, length);
		at += length;
	}
}

/* Objects of a heap: a pointer to a type, a pointer to somewhere in 16 MiB, a length, flags. */
static void fill_pointers(unsigned char *page)
{
	for (int i = 0; i < PAGE; i += 32) {
		uint64_t value = next_random();
		uint64_t object[4] = {
			0x00007f5a12340000 + (value % 16) * 0x60,
			0x0000560000000000 + ((value >> 8) & 0xfffff0),
			value >> 58,
			1,
		};

		memcpy(page + i, object, sizeof(object));
	}
}

static void fill_numbers(unsigned char *page)
{
	for (int i = 0; i < PAGE; i += 16) {
		uint64_t value = next_random();

		for (int j = 0; j < 4; j++) {
			uint32_t number = (value >> (16 * j)) & 0xff;

			memcpy(page + i + 4 * j, &number, 4);
		}
	}
}

static void fill_mixed(unsigned char *page)
{
	unsigned kind = next_random() % 64;

	if (kind < 11)
		fill_text(page);
	else if (kind < 25)
		fill_pointers(page);
	else if (kind < 35)
		fill_numbers(page);
	else if (kind < 56)
		memset(page, 0, PAGE);
	else
		fill_random(page);
}

static void fill_zero(unsigned char *page) { memset(page, 0, PAGE); }

static const struct {
	const char *name;
	void (*fill)(unsigned char *page);
} contents[] = {
	{ "mixed", fill_mixed },
	{ "random", fill_random },
	{ "zero", fill_zero },
	{ "text", fill_text },
	{ "numbers", fill_numbers },
	{ "pointers", fill_pointers },
};

/* 0 if there are no such contents. */
static int fill(unsigned char *memory, size_t size, const char *name)
{
	for (size_t i = 0; i < sizeof(contents) / sizeof(*contents); i++)
		if (strcmp(contents[i].name, name) == 0) {
			for (size_t at = 0; at < size; at += PAGE)
				contents[i].fill(memory + at);
			return 1;
		}
	return 0;
}
