/**
 * @file worker.h
 * The threads of the kernel's that do what a ring's submit can't: io_uring makes
 * them when a request needs one, as threads of the process. Their names begin
 * with iou-wrk.
 */
#ifndef WORKER_H
#define WORKER_H

/**
 * Exit with status 77 where the kernel may make no such thread, as with
 * `ulimit -u` or `pids.max` of a cgroup. It would cancel each request that needs
 * one: a write or an fsync to most file systems, a rename, a splice. To find out,
 * this sends a request through a ring of its own to a worker.
 *
 * @param what  What needs the thread, for the message.
 */
void worker_needed(const char *what);

#endif
