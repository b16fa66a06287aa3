/**
 * @file blocks.h
 * The job that never changes: the same few blocks, spread over one file.
 *
 * This helper picks the blocks, clears the page cache of them and checks that
 * they are gone. How they are read is what the chapters are about; for those
 * that are about something else there is blocks_read().
 */
#ifndef BLOCKS_H
#define BLOCKS_H

#include "args.h"
#include "disk.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/** One block of the file, and the memory that it is to be read into. */
struct block {
    off_t offset;  /**< Where in the file, in bytes; on a page boundary. */
    size_t length; /**< Bytes; all blocks are full but the last one of a
                        small file. */
    unsigned char *data; /**< Room for a full block, aligned to a page. */
};

/** All the blocks of the job, and the file that they are in. */
struct blocks {
    const char *path;      /**< The file, as the user named it. */
    int fd;                /**< Open for reading. */
    off_t file_size;       /**< Bytes. */
    unsigned count;        /**< How many blocks. */
    size_t size;           /**< Bytes in a full block. */
    struct block *block;   /**< The blocks, in the order of their offsets. */
    unsigned char *memory; /**< What the blocks' data point into. */
    bool borrowed;         /**< That memory is the caller's: blocks_move(). */
};

/**
 * Open the file and pick the blocks, evenly spread. A file with room for
 * fewer blocks than were asked for is read whole, its last block short. Exits
 * with a message where there is nothing to read: no such file, an empty one, a
 * directory, a FIFO; and where --trace names the same file.
 *
 * Kernel readahead is switched off for the descriptor (POSIX_FADV_RANDOM):
 * else reading one block could fetch the next one behind our back.
 *
 * @param[out] blocks  To be given back with blocks_close().
 * @param      args    The command line: which file, how many blocks, how big.
 */
void blocks_open(struct blocks *blocks, const struct args *args);

/**
 * Open the file, and no more: what blocks_open() does first. Exits with a message
 * where there is nothing to read.
 *
 * @param      path    A regular file, not empty.
 * @param      sample  It is the sample file: the message says what makes it.
 * @param[out] size    Bytes.
 * @return its descriptor, O_CLOEXEC.
 */
int blocks_open_file(const char *path, bool sample, off_t *size);

/**
 * Drop the file's pages from the page cache (POSIX_FADV_DONTNEED), so that
 * the next read has to go to the disk. Some may stay: dirty pages do, and
 * mapped ones, and all of them on tmpfs. blocks_resident() tells.
 */
void blocks_drop(const struct blocks *blocks);

/**
 * Count the pages of the blocks that are in the page cache, with mincore(2).
 *
 * @return pages, or PAGES_UNKNOWN: since Linux 5.2 mincore() says "all
 *         resident" of a file that the caller neither owns nor may write.
 */
long blocks_resident(const struct blocks *blocks);

/**
 * Count the pages of the whole file that are in the page cache: those of the
 * blocks, and what readahead has brought in besides.
 *
 * @return pages, or PAGES_UNKNOWN as above, and of a file of more than 64 GiB:
 *         it would take seconds.
 */
long blocks_file_resident(const struct blocks *blocks);

/** How many pages the blocks have in all. */
long blocks_pages(const struct blocks *blocks);

/**
 * Print the first line of the output: the file, the blocks, and whether they
 * are cold; if they are not, why that can be.
 *
 * @return true if they are: none of their pages is in the cache.
 */
bool blocks_announce(const struct blocks *blocks);

/**
 * Have the blocks read into the caller's memory instead, of a kind that malloc()
 * does not give: shared between processes, say.
 *
 * @param blocks  The job, nothing read yet.
 * @param memory  Room for `count` full blocks, aligned to a page. It stays the
 *                caller's, who may give it back after blocks_close().
 */
void blocks_move(struct blocks *blocks, void *memory);

/** Zero the memory of all blocks, so that only a read can fill it. */
void blocks_clear(const struct blocks *blocks);

/**
 * Read the whole of a block with pread(2). Chapter 01 teaches why that takes a
 * loop, and has one of its own; the chapters behind it call this one. It marks
 * nothing on the timeline: it may run in another thread or process.
 *
 * @return the block's length; or what went wrong, as blocks_failed() takes it.
 */
int64_t blocks_read(const struct blocks *blocks, unsigned i);

/** CRC-32 (zlib's) of the blocks' data, in the order of the blocks. */
uint32_t blocks_checksum(const struct blocks *blocks);

/**
 * The read of a block came back with `res`, which is not a number of bytes: say
 * so and exit with status 1. Completions carry their error as a negative errno;
 * this is the one place that turns it into text.
 *
 * @param blocks  The job.
 * @param i       Which block was to be read.
 * @param res     -errno; or 0, the end of the file, where blocks_open() was
 *                told that there are bytes.
 */
__attribute__((noreturn)) void blocks_failed(const struct blocks *blocks,
                                             unsigned i, int64_t res);

/** Close the file and free the memory. */
void blocks_close(struct blocks *blocks);

#endif
