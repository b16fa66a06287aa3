#define _GNU_SOURCE /* memfd_create() */
#include "probe.h"

#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <linux/magic.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- io_uring ------------------------------------------------------------- */

const struct probe_part probe_opcodes[] = {
    {IORING_OP_NOP, "NOP", "5.1"},
    {IORING_OP_READ, "READ", "5.6"},
    {IORING_OP_WRITE, "WRITE", "5.6"},
    {IORING_OP_FSYNC, "FSYNC", "5.1"},
    {IORING_OP_READ_FIXED, "READ_FIXED", "5.1"},
    {IORING_OP_WRITE_FIXED, "WRITE_FIXED", "5.1"},
    {IORING_OP_OPENAT, "OPENAT", "5.6"},
    {IORING_OP_CLOSE, "CLOSE", "5.6"},
    {IORING_OP_RENAMEAT, "RENAMEAT", "5.11"},
    {IORING_OP_SPLICE, "SPLICE", "5.7"},
    {IORING_OP_FADVISE, "FADVISE", "5.6"},
    {IORING_OP_POLL_ADD, "POLL_ADD", "5.1"},
    {IORING_OP_ACCEPT, "ACCEPT", "5.5"},
    {IORING_OP_RECV, "RECV", "5.6"},
    {IORING_OP_SEND, "SEND", "5.6"},
    {IORING_OP_TIMEOUT, "TIMEOUT", "5.4"},
    {IORING_OP_LINK_TIMEOUT, "LINK_TIMEOUT", "5.5"},
    {IORING_OP_ASYNC_CANCEL, "ASYNC_CANCEL", "5.5"},
    {0}};

const struct probe_part probe_flags[] = {
    {IORING_SETUP_CQSIZE, "CQSIZE", "5.5"},
    {IORING_SETUP_IOPOLL, "IOPOLL", "5.1"},
    {IORING_SETUP_SQPOLL, "SQPOLL", "5.1"},
    {IORING_SETUP_SUBMIT_ALL, "SUBMIT_ALL", "5.18"},
    {IORING_SETUP_COOP_TASKRUN, "COOP_TASKRUN", "5.19"},
    {IORING_SETUP_SINGLE_ISSUER, "SINGLE_ISSUER", "6.0"},
    {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, "DEFER_TASKRUN",
     "6.1"},
    {0}};

/* Bit 0 first. Their places are part of the kernel's interface and never change, so
   names that are newer than the installed headers can stand here as well. */
static const char *const features[] = {
    "SINGLE_MMAP",     "NODROP",         "SUBMIT_STABLE",   "RW_CUR_POS",
    "CUR_PERSONALITY", "FAST_POLL",      "POLL_32BITS",     "SQPOLL_NONFIXED",
    "EXT_ARG",         "NATIVE_WORKERS", "RSRC_TAGS",       "CQE_SKIP",
    "LINKED_FILE",     "REG_REG_RING",   "RECVSEND_BUNDLE", "MIN_TIMEOUT",
    "RW_ATTR",         "NO_IOWAIT",
};

const char *probe_feature(unsigned bit)
{
    return bit < COUNT(features) ? features[bit] : NULL;
}

int probe_ring(unsigned flags, unsigned *found)
{
    /* Read with IORING_SETUP_CQSIZE only. */
    struct io_uring_params params = {.flags = flags, .cq_entries = 8};
    int ring = (int)syscall(SYS_io_uring_setup, 4, &params);

    if (ring < 0)
        return errno;
    if (found)
        *found = params.features;
    close(ring);
    return 0;
}

/* The kernel looks at the flags first, and only then for memory. So if the answer is that
   there is no memory, the flag is known. */
int probe_flag(const struct probe_part *flag)
{
    int error = probe_ring(flag->number, NULL);

    return error == ENOMEM ? 0 : error;
}

/* IORING_OP_ has eight bits. */
enum { OPCODES = 256 };
static bool known[OPCODES];

int probe_table(void)
{
    struct io_uring_params params = {0};
    struct io_uring_probe *table =
        calloc(1, sizeof(*table) + OPCODES * sizeof(table->ops[0]));
    int ring = (int)syscall(SYS_io_uring_setup, 4, &params);
    int error = 0;

    if (!table || ring < 0 ||
        syscall(SYS_io_uring_register, ring, IORING_REGISTER_PROBE, table,
                OPCODES))
        error = errno;
    for (unsigned i = 0; !error && i < OPCODES; i++)
        known[i] = table->ops[i].flags & IO_URING_OP_SUPPORTED;
    if (ring >= 0)
        close(ring);
    free(table);
    return error;
}

int probe_opcode(const struct probe_part *opcode)
{
    return known[opcode->number] ? 0 : EINVAL;
}

/* --- Linux AIO ------------------------------------------------------------ */

/* The request's result, and what it says if it has failed. */
static int one_request(aio_context_t context, struct iocb *iocb)
{
    struct io_event event = {0};
    long n = syscall(SYS_io_submit, context, 1L, &iocb);

    if (n == 0)
        return EAGAIN; /* It took none, and does not say why. */
    if (n < 0)
        return errno;
    do /* A signal may end the wait before the request does. */
        n = syscall(SYS_io_getevents, context, 1L, 1L, &event, NULL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno;
    return event.res < 0 ? (int)-event.res : 0;
}

const struct probe_part probe_aio_requests[] = {
    {IOCB_CMD_POLL, "poll", "4.19"}, {IOCB_CMD_FSYNC, "fsync", "4.18"}, {0}};

int probe_aio(const struct probe_part *request)
{
    bool poll = request->number == IOCB_CMD_POLL;
    aio_context_t context = 0;
    /* An eventfd that holds a 1 is ready to be read. */
    int fd = poll ? eventfd(1, EFD_CLOEXEC) : memfd_create("00", MFD_CLOEXEC);
    struct iocb iocb = {.aio_lio_opcode = (uint16_t)request->number,
                        .aio_buf = poll ? POLLIN : 0,
                        .aio_fildes = (uint32_t)fd};
    int error = 0;

    if (fd < 0)
        return errno;
    if (syscall(SYS_io_setup, 1L, &context)) {
        error = errno;
    } else {
        error = one_request(context, &iocb);
        syscall(SYS_io_destroy, context);
    }
    close(fd);
    return error;
}

/* --- A file ---------------------------------------------------------------- */

enum probe_drop probe_drop(int fd)
{
    char byte;
    ssize_t n;

    do
        n = pread(fd, &byte, 1, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return PROBE_FAILS;
    if (disk_resident(fd, 0, 1) == PAGES_UNKNOWN)
        return PROBE_UNKNOWN;
    errno = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    if (errno)
        return PROBE_FAILS;
    return disk_resident(fd, 0, 1) == 0 ? PROBE_DROPS : PROBE_STAYS;
}

const char *probe_file_system(int fd)
{
    static const struct {
        uint32_t magic;
        const char *name;
    } systems[] = {
        {EXT4_SUPER_MAGIC, "ext4, ext3 or ext2"},
        {TMPFS_MAGIC, "tmpfs, which is in memory"},
        {OVERLAYFS_SUPER_MAGIC, "overlay, as in a container"},
        {V9FS_MAGIC, "9p, as WSL has for the files of Windows"},
        {XFS_SUPER_MAGIC, "xfs"},
        {BTRFS_SUPER_MAGIC, "btrfs"},
        {0x2fc12fc1, "zfs"},
        {0xca451a4e, "bcachefs"},
        {F2FS_SUPER_MAGIC, "f2fs"},
        {FUSE_SUPER_MAGIC, "fuse"},
        {NFS_SUPER_MAGIC, "nfs"},
        {SMB2_SUPER_MAGIC, "smb"},
    };
    struct statfs where;

    if (fstatfs(fd, &where))
        return NULL;
    for (unsigned i = 0; i < COUNT(systems); i++)
        if (systems[i].magic == (uint32_t)where.f_type)
            return systems[i].name;
    return NULL;
}
