/**
 * @file disk.h
 * What depends on the file system, asked in one place. Nothing here goes by the
 * name of a file system, or by a version: it tries.
 */
#ifndef DISK_H
#define DISK_H

#include <sys/types.h>

/** The kernel won't tell us. */
#define PAGES_UNKNOWN -1L

/**
 * Count the pages of a part of a file that are in the page cache, with mincore(2).
 * Mapping a file brings no page in.
 *
 * @param fd      Open for reading.
 * @param offset  A multiple of the page size, in bytes.
 * @param length  In bytes, at least 1.
 * @return pages; PAGES_UNKNOWN where the file can't be mapped (sysfs), or is not
 *         ours: since Linux 5.2 mincore(2) says "all" of a file that the caller
 *         neither owns nor may write. Exits with a message on other errors.
 */
long disk_resident(int fd, off_t offset, size_t length);

/**
 * The same when no more pages come. Pages that the kernel has begun to read are not
 * there yet, and nothing tells when they are. So this is a guess: count again and again,
 * until the count has not grown for 20 ms.
 */
long disk_resident_settled(int fd, off_t offset, size_t length);

/**
 * Print a count of pages, or `unknown`.
 *
 * @param width  Columns at least; below 0, with the blanks after it, as printf(3) does.
 */
void disk_print_pages(int width, long pages);

/**
 * Count the pages of a file that are not on the disk yet: dirty, or under
 * writeback. With 0 a crash can still lose the rest: the size, the name, what is in
 * the disk's own cache. Only a sync says that all of it is safe.
 *
 * cachestat(2) counts them, since Linux 6.5. It does not where a filter refuses it,
 * and on overlayfs it looks at an inode that has no pages. Then /proc/self/smaps
 * counts the dirty ones. Where it finds none, the file's pages are dropped from the
 * cache, to see that none is under writeback. (tmpfs: its pages never go to a disk,
 * and smaps calls them dirty.)
 *
 * @param fd  Open for reading and writing.
 * @return pages; PAGES_UNKNOWN where neither can tell. Never a 0 that is not true.
 */
long disk_pages_to_write(int fd);

/** What becomes of a read with O_DIRECT. */
enum direct {
    DIRECT_WORKS,   /**< It leaves no page in the cache. */
    DIRECT_IN_NAME, /**< It is taken, and goes through the cache. */
    DIRECT_REFUSED, /**< open(2) or the read fails; errno says why. */
    DIRECT_UNKNOWN  /**< It reads; whether past the cache can't be told. */
};

/**
 * Read the first page of a file with O_DIRECT, and look whether it is in the page
 * cache then. Drops that page from the cache.
 *
 * @param path  A regular file, not empty, that we may read.
 */
enum direct disk_direct(const char *path);

/**
 * Open a file for reading with O_DIRECT; exits with status 77 where the file system
 * refuses that or has it in name only, and with status 1 on other errors.
 *
 * @param path  A regular file, not empty.
 * @return its descriptor, O_CLOEXEC.
 */
int disk_open_direct(const char *path);

#endif
