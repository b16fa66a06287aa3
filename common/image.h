/**
 * @file image.h
 * A disk of one's own: an ext4 in a file in memory, to be mounted where nobody else
 * sees it. What it holds can be copied at any time. Such a copy is what a disk has
 * when the power goes at that moment.
 *
 * Nothing of this has a name in a folder: the file is a memfd, the mount is detached
 * (fsmount(2), Linux 5.2), and the loop device frees itself. So all of it is gone
 * with the last descriptor, however the program ends.
 *
 * It takes root, a loop device and mkfs.ext4. Functions that return -1 have set errno;
 * image_failed() then says what did not work.
 */
#ifndef IMAGE_H
#define IMAGE_H

#include <sys/types.h>

/**
 * Make a disk with an empty ext4.
 *
 * @param bytes  Its size; 8 MiB at least. What is not used takes no memory.
 * @return its descriptor, O_CLOEXEC, for the caller to close; or -1.
 */
int image_new(off_t bytes);

/**
 * Copy all that the disk holds now. What the kernel has in its cache only is not in
 * the copy.
 *
 * @return the copy's descriptor, as image_new()'s. Exits with a message on errors.
 */
int image_copy(int image);

/**
 * Mount it, in no folder at all. If it was copied from one that was mounted, ext4 does
 * what it does after a crash.
 *
 * @param option  One more mount option of ext4(5) without a value, or NULL.
 * @return its root folder, for openat(2) and its like; or -1. Closing that and all that
 *         was opened in it unmounts.
 */
int image_mount(int image, const char *option);

/** What did not work, for a message: "mounting an ext4". */
const char *image_failed(void);

#endif
