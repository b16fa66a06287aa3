/**
 * @file probe.h
 * Asking the kernel what it has: not by its release, but by trying. Chapter 00
 * prints the answers.
 *
 * Nothing here ends the program. A filter may end it, though, at any of these calls
 * (SIGSYS), so ask in a child.
 */
#ifndef PROBE_H
#define PROBE_H

#include <stdbool.h>
#include <sys/types.h>

/** A part of an interface that some chapter uses. */
struct probe_part {
    unsigned number;   /**< IORING_OP_, IORING_SETUP_ or IOCB_CMD_. */
    const char *name;  /**< Without that prefix. */
    const char *since; /**< The Linux that brought it. */
};

/** Asks for one part. Returns 0 if it is there, EINVAL if this kernel does not know
 *  it, another errno if it is refused. */
typedef int probe_fn(const struct probe_part *part);

/** All kinds of requests that the chapters use; a name of NULL is after the last.
 *  Sources: io_uring_enter(2), and IORING_OP_ in the kernel's history. */
extern const struct probe_part probe_opcodes[];

/** The same for flags of io_uring_setup(2). One that can't be had without another is
 *  asked for with it. */
extern const struct probe_part probe_flags[];

/** Requests of Linux AIO that are younger than the call. */
extern const struct probe_part probe_aio_requests[];

/**
 * Set up a ring of four entries, and close it.
 *
 * @param      flags     IORING_SETUP_ bits.
 * @param[out] features  IORING_FEAT_ bits; NULL if nobody wants them.
 * @return 0, or the errno of io_uring_setup(2).
 */
int probe_ring(unsigned flags, unsigned *features);

/** Does io_uring_setup(2) know this flag? Whether there is memory for the ring is
 *  another question. */
probe_fn probe_flag;

/** The name of a feature, without IORING_FEAT_, by its bit from 0 on; NULL for one
 *  that is newer than this source. */
const char *probe_feature(unsigned bit);

/**
 * Which requests does io_uring know? It has a table of them: IORING_REGISTER_PROBE.
 * This gets it, and probe_opcode() looks into it.
 *
 * @return 0, or an errno. EINVAL: the kernel is older than 5.6, and has no table.
 */
int probe_table(void);

/** Does io_uring know this request? After probe_table(). */
probe_fn probe_opcode;

/** Hand one request to Linux AIO, and wait for it. It can end at once, without a disk:
 *  the poll is of an eventfd that is ready, the fsync of a file in memory. */
probe_fn probe_aio;

/** What becomes of a page that is to leave the page cache. */
enum probe_drop {
    PROBE_DROPS, /**< It goes. */
    PROBE_STAYS, /**< It stays. Dirty and mapped ones do, and on tmpfs all do. */
    PROBE_UNKNOWN, /**< Nobody tells us: disk_resident(). */
    PROBE_FAILS    /**< It can't be read, or not be dropped; errno says why. */
};

/**
 * Read the first page of a file, so that it is in the page cache, drop it, and look
 * whether it is gone.
 *
 * @param fd  Open for reading, and not empty.
 */
enum probe_drop probe_drop(int fd);

/**
 * The name of the file system that a file is on.
 *
 * @return NULL for one that has no name here, and of one that can't be asked.
 */
const char *probe_file_system(int fd);

#endif
