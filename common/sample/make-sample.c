/*
 * make-sample: write the file that the chapters read when you name none.
 *
 *     make-sample FILE
 *
 * 64 MiB from a generator with a fixed seed, so that the file, and with it the
 * checksum that every spine chapter prints, is the same on every machine: POSIX
 * says to the bit what jrand48(3) returns. The bytes look random, so no file
 * system or disk can compress them, or leave holes.
 */
#include "save.h"

#include <endian.h>
#include <err.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

enum { MIB = 1 << 20, SIZE_MIB = 64, WORDS = MIB / sizeof(uint32_t) };

int main(int argc, char **argv)
{
    static uint32_t chunk[WORDS];
    unsigned short seed[3] = {1991, 9, 17}; /* Linux 0.01 */
    int progress = isatty(STDERR_FILENO);

    if (argc != 2) {
        fprintf(stderr, "usage: make-sample FILE\n");
        return 2;
    }
    FILE *file = save_begin(argv[1]);
    for (int mib = 1; mib <= SIZE_MIB; mib++) {
        for (size_t i = 0; i < WORDS; i++)
            chunk[i] = htole32((uint32_t)jrand48(seed));
        if (fwrite(chunk, sizeof(chunk), 1, file) != 1)
            err(1, "writing %s", argv[1]);
        if (progress)
            fprintf(stderr, "\r%s: %d of %d MiB", argv[1], mib, SIZE_MIB);
    }
    if (progress)
        fputs(", to the disk", stderr);
    save_commit(file);
    if (progress)
        fputs(": done\n", stderr);
    return 0;
}
