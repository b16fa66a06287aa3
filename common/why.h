/**
 * @file why.h
 * Why a machine refuses an interface, and what to do about it.
 */
#ifndef WHY_H
#define WHY_H

/**
 * Why io_uring can't be set up on this machine.
 *
 * Sources: io_uring_setup(2); kernel.io_uring_disabled in the kernel's
 * Documentation/admin-guide/sysctl/kernel.rst.
 *
 * @param error  errno of io_uring_setup(2).
 * @return a text with the cause and the way out; NULL where the error does not
 *         come from the machine's settings (EMFILE, say).
 */
const char *why_no_uring(int error);

/**
 * Why Linux AIO can't be set up on this machine. Sources: io_setup(2);
 * fs.aio-max-nr in the kernel's Documentation/admin-guide/sysctl/fs.rst.
 *
 * @param error  errno of io_setup(2).
 * @return as why_no_uring().
 */
const char *why_no_aio(int error);

/** Exit: status 77 with why_no_uring()'s answer if it has one, else 1. */
__attribute__((noreturn)) void uring_refused(int error);

/** Exit: status 77 with why_no_aio()'s answer if it has one, else 1. */
__attribute__((noreturn)) void aio_refused(int error);

#endif
