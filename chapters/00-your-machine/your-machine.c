/*
 * 00 · Your machine
 *
 * Says what this machine can show of the other chapters: the kernel, io_uring,
 * Linux AIO, a file and its file system, the processors, the terminal.
 *
 * Watch for: the last lines, one for each chapter, ready or with what is
 * missing. And how the answers are found: not by comparing version numbers,
 * but by trying.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/00-your-machine/your-machine.c common/?*.c -lz -luring \
 *           -o 00-your-machine
 *
 * Needs: any Linux; liburing 2.3.
 * Manual pages: io_uring_setup(2), io_uring_register(2), io_setup(2), statx(2),
 * statfs(2), open(2), mincore(2), sched_getaffinity(2).
 */
#define _GNU_SOURCE /* O_DIRECT, statx(), dladdr(), memfd_create() */
#include "args.h"
#include "blocks.h"
#include "disk.h"
#include "terminal.h"
#include "why.h"

#include <dirent.h>
#include <dlfcn.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <liburing.h>
#include <limits.h>
#include <linux/aio_abi.h>
#include <linux/magic.h>
#include <locale.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define TEXT         1024
#define COLUMNS      80
#define INDENT       3 /* And a blank before every word. */

static const struct program program = {
    .name = "00-your-machine",
    .does = "Says what this machine can show of the other chapters.",
    .takes_file = true,
};

/* --- Saying it ------------------------------------------------------------ */

/* One fact, `name: value`, in lines of at most 80 columns. */
__attribute__((format(printf, 2, 3))) static void say(const char *name,
                                                      const char *value, ...)
{
    char text[2 * TEXT];
    int column = printf("%s:", name);
    va_list arguments;

    va_start(arguments, value);
    vsnprintf(text, sizeof(text), value, arguments);
    va_end(arguments);
    for (char *word = text; *word;) {
        int length = (int)strcspn(word, " \n");
        if (column + 1 + length > COLUMNS && column > INDENT)
            column = printf("\n%*s", INDENT, "") - 1;
        column += printf(" %.*s", length, word);
        word += length;
        if (*word == '\n')
            column = printf("\n%*s", INDENT, "") - 1;
        word += *word != '\0';
    }
    putchar('\n');
}

/* Something was refused: the error, and the cause where one is known. */
static void say_no(const char *name, int error, const char *why)
{
    say(name, "no: %s%s%s", strerror(error), why ? ": " : "", why ? why : "");
}

/* Append to a list of words. */
__attribute__((format(printf, 2, 3))) static void add(char list[TEXT],
                                                      const char *word, ...)
{
    size_t used = strlen(list);
    va_list arguments;

    if (used > 0 && used < TEXT - 1)
        list[used++] = ' ';
    va_start(arguments, word);
    vsnprintf(list + used, TEXT - used, word, arguments);
    va_end(arguments);
}

static void say_lists(const char *name, const char *there, const char *missing)
{
    char label[64];

    snprintf(label, sizeof(label), "%s missing", name);
    say(name, "%s", *there ? there : "none");
    if (*missing)
        say(label, "%s", missing);
}

/* The line of a file in /proc that begins with `key`, from behind the key. */
static const char *proc(const char *path, const char *key)
{
    static char line[256];
    FILE *file = fopen(path, "re");
    const char *value = NULL;

    while (file && !value && fgets(line, sizeof(line), file))
        if (strncmp(line, key, strlen(key)) == 0)
            value = line + strlen(key) + strspn(line + strlen(key), " \t");
    line[strcspn(line, "\n")] = '\0';
    if (!value) {
        bool failed = !file || ferror(file);
        snprintf(line, sizeof(line), "unknown: %s: %s", path,
                 failed ? strerror(errno) : "doesn't say");
    }
    if (file)
        fclose(file);
    return value ? value : line;
}

/* --- The kernel ----------------------------------------------------------- */

static void show_kernel(void)
{
    struct utsname names;

    if (uname(&names))
        err(1, "asking for the kernel's release");
    puts("Kernel");
    say("release", "%s (%s)", names.release, names.machine);

    /* A filter refuses calls that the kernel has: the first suspect where
       something below fails. Containers run with one. */
    const char *mode = proc("/proc/self/status", "Seccomp:");
    if (strcmp(mode, "0") == 0)
        mode = "none";
    else if (strcmp(mode, "2") == 0)
        mode = "in force; it can refuse what this kernel has";
    say("seccomp filter", "%s", mode);
}

/* --- io_uring ------------------------------------------------------------- */

/* Bit 0 first. Their places are part of the kernel's interface and never
   change, so names newer than the installed headers can stand here as well. */
static const char *const features[] = {
    "SINGLE_MMAP",     "NODROP",         "SUBMIT_STABLE",   "RW_CUR_POS",
    "CUR_PERSONALITY", "FAST_POLL",      "POLL_32BITS",     "SQPOLL_NONFIXED",
    "EXT_ARG",         "NATIVE_WORKERS", "RSRC_TAGS",       "CQE_SKIP",
    "LINKED_FILE",     "REG_REG_RING",   "RECVSEND_BUNDLE", "MIN_TIMEOUT",
    "RW_ATTR",         "NO_IOWAIT",
};

/* What the chapters use, and the Linux that brought it: io_uring_enter(2) and
   io_uring_setup(2). DEFER_TASKRUN is to be had with SINGLE_ISSUER only. */
struct part {
    unsigned number;
    const char *name, *since;
};
static const struct part opcodes[] = {
    {IORING_OP_NOP, "NOP", "5.1"},
    {IORING_OP_READ, "READ", "5.6"},
    {IORING_OP_WRITE, "WRITE", "5.6"},
    {IORING_OP_FSYNC, "FSYNC", "5.1"},
    {IORING_OP_READ_FIXED, "READ_FIXED", "5.1"},
    {IORING_OP_WRITE_FIXED, "WRITE_FIXED", "5.1"},
    {IORING_OP_ACCEPT, "ACCEPT", "5.5"},
    {IORING_OP_RECV, "RECV", "5.6"},
    {IORING_OP_SEND, "SEND", "5.6"},
    {IORING_OP_CLOSE, "CLOSE", "5.6"},
    {IORING_OP_TIMEOUT, "TIMEOUT", "5.4"},
    {IORING_OP_LINK_TIMEOUT, "LINK_TIMEOUT", "5.5"},
    {IORING_OP_ASYNC_CANCEL, "ASYNC_CANCEL", "5.5"},
    {0}};
static const struct part flags[] = {
    {IORING_SETUP_CQSIZE, "CQSIZE", "5.5"},
    {IORING_SETUP_IOPOLL, "IOPOLL", "5.1"},
    {IORING_SETUP_SQPOLL, "SQPOLL", "5.1"},
    {IORING_SETUP_SUBMIT_ALL, "SUBMIT_ALL", "5.18"},
    {IORING_SETUP_COOP_TASKRUN, "COOP_TASKRUN", "5.19"},
    {IORING_SETUP_SINGLE_ISSUER, "SINGLE_ISSUER", "6.0"},
    {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, "DEFER_TASKRUN",
     "6.1"},
    {0}};

/* A program is built with one liburing and may run with another. From 2.4 on,
   headers and library each say which they are; the build takes none older than
   2.3, so headers that don't say are that one. */
static void show_liburing(void)
{
    int (*major)(void), (*minor)(void);
    Dl_info library;

#ifdef IO_URING_VERSION_MAJOR
    say("liburing compiled", "%d.%d", IO_URING_VERSION_MAJOR,
        IO_URING_VERSION_MINOR);
#else
    say("liburing compiled", "2.3");
#endif
    /* dlsym() returns a pointer to data where ISO C wants one to a function;
       this is how POSIX says to get from one to the other. */
    *(void **)&major = dlsym(RTLD_DEFAULT, "io_uring_major_version");
    *(void **)&minor = dlsym(RTLD_DEFAULT, "io_uring_minor_version");
    if (major && minor) {
        say("liburing running", "%d.%d", major(), minor());
        return;
    }
    void *function = dlsym(RTLD_DEFAULT, "io_uring_queue_init_params");
    bool shared = function && dladdr(function, &library);
    char *path = shared ? realpath(library.dli_fname, NULL) : NULL;
    if (path)
        say("liburing running", "older than 2.4, from the file %s",
            strrchr(path, '/') + 1);
    else
        say("liburing running", "older than 2.4, %s",
            shared ? strerror(errno) : "linked statically");
    free(path);
}

static void show_memlock(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_MEMLOCK, &limit))
        err(1, "asking for the memlock limit");
    if (limit.rlim_cur == RLIM_INFINITY)
        say("memlock limit", "unlimited");
    else
        say("memlock limit", "%ju KiB", (uintmax_t)limit.rlim_cur >> 10);
}

static void show_features(unsigned bits)
{
    char names[TEXT] = "";

    for (unsigned i = 0; i < COUNT(features); i++)
        if (bits & 1U << i)
            add(names, "%s", features[i]);
    bits &= ~((1U << COUNT(features)) - 1);
    if (bits)
        add(names, "and %#x, newer than this program", bits);
    say_lists("features", names, "");
}

/* The kernel keeps a table of its opcodes, and shows it to who asks. */
static void show_opcodes(struct io_uring *ring)
{
    char there[TEXT] = "", missing[TEXT] = "";
    struct io_uring_probe *probe =
        calloc(1, sizeof(*probe) + IORING_OP_LAST * sizeof(probe->ops[0]));

    if (!probe)
        err(1, "allocating the probe");
    int error = -io_uring_register_probe(ring, probe, IORING_OP_LAST);
    if (error)
        say_no("opcodes", error,
               error == EINVAL ? "needs Linux 5.6"
                               : why_refused(URING_REGISTER, error));
    for (const struct part *o = opcodes; o->name; o++)
        if (io_uring_opcode_supported(probe, (int)o->number))
            add(there, "%s", o->name);
        else
            add(missing, "%s (Linux %s)", o->name, o->since);
    if (!error)
        say_lists("opcodes", there, missing);
    free(probe);
}

/* A ring with this flag, which is given back. Returns 0 or the errno. The kernel
   gives the memory of closed rings back some time after the close; until then it
   counts against the memlock limit. So wait for it. */
static int try_flag(const struct part *flag)
{
    int ring = -1;

    for (int naps = 0; ring < 0 && naps < 50; naps++) {
        struct io_uring_params params = {.flags = flag->number,
                                         .cq_entries = 8};
        ring = (int)syscall(SYS_io_uring_setup, 4, &params);
        if (ring < 0 && errno != ENOMEM)
            return errno;
        if (ring < 0)
            nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    }
    if (ring >= 0 && close(ring))
        err(1, "closing a ring");
    return ring < 0 ? ENOMEM : 0;
}

/* Of flags there is no table: ask for a ring with each, and see. */
static void show_flags(void)
{
    char there[TEXT] = "", missing[TEXT] = "", untried[TEXT] = "";

    for (const struct part *f = flags; f->name; f++) {
        int error = try_flag(f);

        if (error == 0)
            add(there, "%s", f->name);
        else if (error == EINVAL)
            add(missing, "%s (Linux %s)", f->name, f->since);
        else if (error == ENOMEM)
            add(untried, "%s", f->name);
        else
            add(missing, "%s (%s)", f->name, strerror(error));
    }
    say_lists("set-up flags", there, missing);
    if (*untried)
        say("set-up flags not tried", "%s: %s; see ulimit -l", untried,
            strerror(ENOMEM));
}

/* A seccomp filter may also kill who makes a call. Which of these calls would
   that be? Each is made in a child, and with nothing to be done. NULL: none. */
static const char *killed_by(const struct part *calls)
{
    for (; calls->name; calls++) {
        int status = 0;
        pid_t child = fork();

        if (child == 0) {
            setrlimit(RLIMIT_CORE, &(struct rlimit){0});
            syscall((long)calls->number, -1, 0, NULL, 0, NULL, 0);
            _exit(0); /* Not exit(): stdout's buffer is the parent's. */
        }
        while (child > 0 && waitpid(child, &status, 0) < 0)
            if (errno != EINTR)
                err(1, "waiting for a child that tries %s()", calls->name);
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
            return calls->name;
    }
    return NULL;
}

#define KILLED                                                                 \
    "a seccomp filter kills whoever calls %s() (SIGSYS).\n"                    \
    "Docker, Podman: run the container with --security-opt "                   \
    "seccomp=unconfined"

/* Set up a ring, and say whether that, and the way into it, works. */
static bool open_ring(struct io_uring *ring, struct io_uring_params *params)
{
    static const struct part calls[] = {
        {SYS_io_uring_setup, "io_uring_setup", ""},
        {SYS_io_uring_enter, "io_uring_enter", ""},
        {SYS_io_uring_register, "io_uring_register", ""},
        {0}};
    const char *killer = killed_by(calls);

    if (killer) {
        say("set up", "no: " KILLED, killer);
        return false;
    }
    int error = -io_uring_queue_init_params(4, ring, params);
    if (error) {
        say_no("set up", error, why_refused(URING_SETUP, error));
        return false;
    }
    say("set up", "works");
    /* Nothing to submit, nothing to wait for. */
    error = -io_uring_enter((unsigned)ring->ring_fd, 0, 0, 0, NULL);
    if (error > 0)
        say_no("enter", error, why_refused(URING_ENTER, error));
    return true;
}

static void show_uring(void)
{
    struct io_uring_params params = {0};
    struct io_uring ring;

    puts("\nio_uring");
    bool opened = open_ring(&ring, &params);
    show_liburing();
    show_memlock();
    if (opened) {
        show_features(params.features);
        show_opcodes(&ring);
        show_flags();
        io_uring_queue_exit(&ring);
    }
}

/* --- Linux AIO ------------------------------------------------------------ */

/* Submit one request on `fd`, wait for it, say whether that worked. */
static void show_request(aio_context_t context, const char *name, int fd,
                         struct iocb iocb, const char *since)
{
    struct iocb *iocbs[] = {&iocb};
    struct io_event event = {0};
    long n = -1;

    iocb.aio_fildes = (uint32_t)fd;
    if (fd >= 0 && syscall(SYS_io_submit, context, 1, iocbs) == 1)
        do /* A signal may end the wait before the request does. */
            n = syscall(SYS_io_getevents, context, 1, 1, &event, NULL);
        while (n < 0 && errno == EINTR);

    int error = n == 1 ? 0 : errno;
    if (n == 1 && event.res < 0)
        error = (int)-event.res; /* The request itself has failed. */
    if (error)
        say_no(name, error, error == EINVAL ? since : NULL);
    else
        say(name, "works");
    if (fd >= 0 && close(fd))
        err(1, "closing what the %s was for", name);
}

static void show_aio(void)
{
    static const struct part calls[] = {
        {SYS_io_setup, "io_setup", ""}, {SYS_io_submit, "io_submit", ""}, {0}};
    const char *killer = killed_by(calls);
    aio_context_t context = 0;
    struct iocb ready = {.aio_lio_opcode = IOCB_CMD_POLL, .aio_buf = POLLIN};
    struct iocb sync = {.aio_lio_opcode = IOCB_CMD_FSYNC};

    puts("\nLinux AIO");
    if (killer) {
        say("set up", "no: " KILLED, killer);
    } else if (syscall(SYS_io_setup, 1, &context)) {
        say_no("set up", errno, why_refused(AIO_SETUP, errno));
    } else {
        say("set up", "works");
        /* An eventfd that holds a 1 is ready to be read; a memfd is a file
           that no disk is needed for. */
        show_request(context, "poll request", eventfd(1, EFD_CLOEXEC), ready,
                     "needs Linux 4.19");
        show_request(context, "fsync request", memfd_create("00", MFD_CLOEXEC),
                     sync, "needs Linux 4.18");
        if (syscall(SYS_io_destroy, context))
            err(1, "destroying the AIO context");
    }
    say("aio-max-nr", "%s", proc("/proc/sys/fs/aio-max-nr", ""));
    say("aio-nr", "%s", proc("/proc/sys/fs/aio-nr", ""));
}

/* --- The file ------------------------------------------------------------- */

static const struct file_system {
    uint32_t magic;
    const char *name;
} file_systems[] = {
    {EXT4_SUPER_MAGIC, "ext4 (or ext2, ext3: the three have one number)"},
    {TMPFS_MAGIC, "tmpfs: in memory, so there is no disk to wait for"},
    {OVERLAYFS_SUPER_MAGIC, "overlay, as containers have"},
    {V9FS_MAGIC, "9p, as WSL has for the files of Windows"},
    {XFS_SUPER_MAGIC, "xfs"},
    {BTRFS_SUPER_MAGIC, "btrfs"},
    {0x2fc12fc1, "zfs"},
    {0xca451a4e, "bcachefs"},
    {F2FS_SUPER_MAGIC, "f2fs"},
    {FUSE_SUPER_MAGIC, "fuse"},
    {NFS_SUPER_MAGIC, "nfs"},
    {SMB2_SUPER_MAGIC, "smb"},
    {0}};

static void show_file_system(const struct blocks *blocks)
{
    struct statfs where;

    if (fstatfs(blocks->fd, &where))
        err(1, "asking for the file system of %s", blocks->path);
    uint32_t magic = (uint32_t)where.f_type;
    const struct file_system *f = file_systems;
    while (f->name && f->magic != magic)
        f++;
    if (f->name)
        say("file system", "%s", f->name);
    else
        say("file system", "number %#x", magic);
}

static ssize_t read_page(int fd, const struct blocks *blocks)
{
    ssize_t n;

    do
        n = pread(fd, blocks->block[0].data, blocks->size, 0);
    while (n < 0 && errno == EINTR);
    return n;
}

/* Bring a page into the cache and throw it out again: who can't do that can't
   show a cold read. */
static void show_drop(const struct blocks *blocks)
{
    if (read_page(blocks->fd, blocks) < 0)
        err(1, "reading %s", blocks->path);
    long before = blocks_resident(blocks);
    blocks_drop(blocks);
    long after = blocks_resident(blocks);

    if (after == PAGES_UNKNOWN)
        say("pages can be dropped", "unknown: the kernel answers only the "
                                    "owner of the file, and those who may "
                                    "write to it");
    else if (before == 0)
        say("pages can be dropped", "no: a read leaves none in the cache");
    else if (after > 0)
        say("pages can be dropped", "no: this one stayed (dirty and mapped "
                                    "ones do, and on tmpfs all do)");
    else
        say("pages can be dropped", "yes");
}

/* O_DIRECT asks to pass the page cache by. Some file systems refuse it, some
   agree and go through the cache all the same. */
static void show_direct(const struct blocks *blocks)
{
    struct statx file;

    switch (disk_direct(blocks->path)) {
    case DIRECT_WORKS:
        say("O_DIRECT", "works");
        break;
    case DIRECT_IN_NAME:
        say("O_DIRECT", "in name only: it reads through the cache");
        break;
    case DIRECT_UNKNOWN:
        say("O_DIRECT", "reads; whether past the cache is unknown");
        break;
    case DIRECT_REFUSED:
        say_no("O_DIRECT", errno, NULL);
        return;
    }
    if (statx(blocks->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &file))
        say_no("alignment", errno, NULL);
    else if (!(file.stx_mask & STATX_DIOALIGN))
        say("alignment",
            "not told; it takes Linux 6.1 and a file system that "
            "answers. A page, %zu bytes, is a safe guess",
            blocks->size);
    else if (file.stx_dio_offset_align == 0)
        say("alignment", "none: statx(2) says no direct I/O on this file");
    else
        say("alignment", "memory %u bytes, offset and length %u",
            file.stx_dio_mem_align, file.stx_dio_offset_align);
}

static void show_file(const struct blocks *blocks)
{
    puts("\nFile");
    if (!blocks->path) {
        say("name", "%s", args_no_sample);
        return;
    }
    const char *slash = strrchr(blocks->path, '/');
    say("name", "%s", slash ? slash + 1 : blocks->path);
    show_file_system(blocks);
    show_drop(blocks);
    show_direct(blocks);
}

/* --- Processors, terminal ------------------------------------------------- */

static void show_processors(void)
{
    cpu_set_t set;

    puts("\nProcessors");
    say("online", "%ld", sysconf(_SC_NPROCESSORS_ONLN));
    if (sched_getaffinity(0, sizeof(set), &set)) /* More than 1,024, say. */
        say("allowed", "unknown: %s", strerror(errno));
    else
        say("allowed", "%d", CPU_COUNT(&set));
}

static void show_terminal(void)
{
    unsigned columns = terminal_columns();

    puts("\nTerminal");
    if (columns)
        say("stdout", "a terminal with %u columns", columns);
    else
        say("stdout", "not a terminal");
    say("colors", "%s", terminal_in_color() ? "yes" : "no");
    say("locale", "%s, %s: bars in %s", setlocale(LC_CTYPE, NULL),
        nl_langinfo(CODESET), terminal_in_utf8() ? "Unicode blocks" : "ASCII");
}

/* --- The chapters --------------------------------------------------------- */

/* Run `path --check`. Returns its wait status; the first line that it wrote to
   stderr is in `line`. Unlike a pipe, a file in memory does not fill up. */
static int check(const char *path, char line[TEXT])
{
    int status, null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    int messages = memfd_create("stderr", MFD_CLOEXEC);
    FILE *reader = messages < 0 ? NULL : fdopen(messages, "r");

    if (null < 0 || !reader)
        err(1, "making room for what %s says", path);
    pid_t parent = getpid(), child = fork();
    if (child < 0)
        errx(1, "forking for %s: %s%s", path, strerror(errno),
             why_no_thread(errno));
    if (child == 0) {
        /* When the parent dies, so shall the child: chapter 06. */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent &&
            dup2(null, STDOUT_FILENO) >= 0 &&
            dup2(messages, STDERR_FILENO) >= 0)
            execl(path, path, "--check", NULL);
        warn("running it");
        _exit(1); /* Not exit(): stdout's buffer is the parent's to print. */
    }
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            err(1, "waiting for %s", path);

    rewind(reader); /* The child has moved the offset that we share with it. */
    if (!fgets(line, TEXT, reader))
        line[0] = '\0';
    line[strcspn(line, "\n")] = '\0';
    if (ferror(reader) || fclose(reader) || close(null))
        err(1, "reading what %s says", path);
    return status;
}

static void show_chapter(const char *folder, const char *name)
{
    char path[PATH_MAX], line[TEXT];

    if (snprintf(path, PATH_MAX, "%s/%s", folder, name) >= PATH_MAX)
        errx(1, "running %s: %s", name, strerror(ENAMETOOLONG));
    int status = check(path, line);

    /* The message begins with the program's name, which we say anyway. */
    char *reason = strstr(line, ": ");
    reason = reason ? reason + 2 : line;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
        say(name, "missing: a seccomp filter kills it (SIGSYS)");
    else if (WIFSIGNALED(status))
        say(name, "failed: %s", strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) == 0)
        say(name, "ready");
    else if (WEXITSTATUS(status) == EXIT_CANNOT_SHOW)
        say(name, "missing: %s", reason);
    else
        say(name, "failed: %s", reason);
}

/* A chapter is a program named NN-something. */
static int is_chapter(const struct dirent *entry)
{
    const char *name = entry->d_name;

    return strspn(name, "0123456789") == 2 && name[2] == '-';
}

/* The chapters are the programs beside this one: no list to keep up to date. */
static void show_chapters(void)
{
    char self[PATH_MAX];
    struct dirent **found;

    puts("\nChapters");
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (length < 0)
        err(1, "asking where this program is: /proc/self/exe");
    self[length] = '\0';
    char *name = strrchr(self, '/');
    *name++ = '\0';

    int n = scandir(self, &found, is_chapter, alphasort);
    if (n < 0)
        err(1, "listing %s", self);
    unsigned others = 0;
    for (int i = 0; i < n; i++) {
        if (strcmp(found[i]->d_name, name) != 0) {
            show_chapter(self, found[i]->d_name);
            others++;
        }
        free(found[i]);
    }
    free(found);
    if (others == 0)
        puts("none is built beside this program; ./tour builds them");
}

int main(int argc, char **argv)
{
    struct args args = args_parse(argc, argv, &program);
    struct blocks blocks = {0};

    /* One page of the file is enough. That there is no sample file yet is one
       more thing to say; any other file was asked for and has to be there. */
    args.count = 1;
    args.size = (size_t)sysconf(_SC_PAGESIZE);
    if (!args.sample || access(args.file, F_OK) == 0)
        blocks_open(&blocks, &args);

    show_kernel();
    show_uring();
    show_aio();
    show_file(&blocks);
    show_processors();
    show_terminal();
    show_chapters();
    if (blocks.path)
        blocks_close(&blocks);
    return 0;
}
