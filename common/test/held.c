/*
 * held: each thread of a pool and its event loop wait for each other, where a test wants
 * it.
 *
 *     HELD_TURNS=3 HELD_READS=4 LD_PRELOAD=build/libheld.so build/bin/05-thread-pool
 *
 * This library steps between a program and the kernel. Which of two threads is quicker
 * is then no matter of luck: one is held back until the other has got so far. If that one
 * never does, the program ends: after ten seconds without news, or after 100000 turns
 * without a write. A turn is a call of epoll_wait() in the main thread.
 *
 *     HELD_TURNS=n  a thread's pread() returns n turns after it was called
 *     HELD_READS=n  ... and when n threads have called it: first for one group of n
 *                   reads, then for the next
 *     HELD_WAKE=n   a thread's eventfd_write() begins n turns after it was called
 *     HELD_WOKEN=n  ... returns n turns later
 *     HELD_NEWS=n   a turn without a time limit begins when there were n writes, the
 *                   next one when there were n more
 *     HELD_DRAIN=n  the main thread's read() of the eventfd begins when there were n
 *                   writes
 *     HELD_MUTEX=1  a thread that has woken another one while it had a mutex gives that
 *                   back when all others sleep: if one of them needs it, it waits for it
 *     HELD_ERROR=e  the first pread() of a thread fails with that errno
 *
 * The main thread's own pread() goes through. In pthread_join() the main thread lets go
 * of all others.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* The function that the program would have called. */
#define REAL(name, as) (__extension__(__typeof__(name) *) dlsym(RTLD_NEXT, as))

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t news = PTHREAD_COND_INITIALIZER;
static unsigned long turns, reads, writes;
static int over, eventfd_of_loop = -1;

/* How many mutexes this thread has, and whether it has woken another one with them. */
static _Thread_local int has, has_woken;

static unsigned long number(const char *name)
{
    const char *text = getenv(name);

    return text ? strtoul(text, NULL, 10) : 0;
}

static int is_main(void)
{
    return gettid() == getpid();
}

/* Something has got further. The mutex is ours. */
static void count(unsigned long *counter)
{
    ++*counter;
    pthread_cond_broadcast(&news);
}

__attribute__((noreturn)) static void never(void)
{
    static const char text[] = "it never ends\n";

    _exit(write(STDERR_FILENO, text, sizeof(text) - 1) > 0 ? 1 : 3);
}

/* Until that counter has got so far. The mutex is ours. */
static void hold(const unsigned long *counter, unsigned long enough)
{
    while (*counter < enough && !over) {
        struct timespec limit;

        clock_gettime(CLOCK_REALTIME, &limit);
        limit.tv_sec += 10;
        if (pthread_cond_timedwait(&news, &mutex, &limit) == ETIMEDOUT)
            never();
    }
}

static void hold_for_turns(const char *name)
{
    pthread_mutex_lock(&mutex);
    hold(&turns, turns + number(name));
    pthread_mutex_unlock(&mutex);
}

int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
{
    static unsigned long expected, last_write, last_turn;

    pthread_mutex_lock(&mutex);
    count(&turns);
    if (writes != last_write) {
        last_write = writes;
        last_turn = turns;
    } else if (turns - last_turn > 100000) {
        never();
    }
    if (timeout < 0)
        hold(&writes, expected += number("HELD_NEWS"));
    pthread_mutex_unlock(&mutex);
    return REAL(epoll_wait, "epoll_wait")(epoll, events, most, timeout);
}

/* Where off_t is asked to have 64 bits, pread() gets this name, here and there. */
ssize_t pread(int fd, void *data, size_t bytes, off_t offset)
{
    ssize_t n = REAL(pread, "pread64")(fd, data, bytes, offset);
    int error = errno;

    if (is_main())
        return n;
    unsigned long group = number("HELD_READS");
    pthread_mutex_lock(&mutex);
    unsigned long enough = turns + number("HELD_TURNS");
    unsigned long full = group ? (reads / group + 1) * group : 0;
    if (reads == 0 && number("HELD_ERROR")) {
        n = -1;
        error = (int)number("HELD_ERROR");
    }
    count(&reads);
    hold(&reads, full);
    hold(&turns, enough);
    pthread_mutex_unlock(&mutex);
    errno = error;
    return n;
}

int eventfd(unsigned value, int flags)
{
    return eventfd_of_loop = REAL(eventfd, "eventfd")(value, flags);
}

int eventfd_write(int fd, eventfd_t value)
{
    if (!is_main())
        hold_for_turns("HELD_WAKE");
    has_woken = has > 0;
    int failed = REAL(eventfd_write, "eventfd_write")(fd, value);
    pthread_mutex_lock(&mutex);
    count(&writes);
    pthread_mutex_unlock(&mutex);
    if (!is_main())
        hold_for_turns("HELD_WOKEN");
    return failed;
}

/* libuv's way. */
ssize_t write(int fd, const void *data, size_t bytes)
{
    if (fd == eventfd_of_loop)
        has_woken = has > 0;
    return REAL(write, "write")(fd, data, bytes);
}

ssize_t read(int fd, void *data, size_t bytes)
{
    if (fd == eventfd_of_loop && is_main()) {
        pthread_mutex_lock(&mutex);
        hold(&writes, number("HELD_DRAIN"));
        pthread_mutex_unlock(&mutex);
    }
    return REAL(read, "read")(fd, data, bytes);
}

static atomic_int
    giving_back; /* So many threads are in pthread_mutex_unlock(). */

/* How many other threads do not sleep? */
static int awake(void)
{
    DIR *tasks = opendir("/proc/self/task");
    int n = 0;

    for (struct dirent *task; tasks && (task = readdir(tasks));) {
        char path[300], text[300] = "";

        if (task->d_name[0] == '.' || atoi(task->d_name) == gettid())
            continue;
        snprintf(path, sizeof(path), "/proc/self/task/%s/stat", task->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || REAL(read, "read")(fd, text, sizeof(text) - 1) <= 0)
            text[0] = '\0'; /* It has just ended. */
        if (fd >= 0)
            close(fd);
        const char *state = strrchr(text, ')'); /* Its name may hold one. */
        n += state && state[2] != 'S' && state[2] != 'Z';
    }
    if (tasks)
        closedir(tasks);
    return n;
}

int pthread_mutex_lock(pthread_mutex_t *which)
{
    has++;
    return REAL(pthread_mutex_lock, "pthread_mutex_lock")(which);
}

int pthread_cond_signal(pthread_cond_t *which)
{
    has_woken = has > 0;
    return REAL(pthread_cond_signal, "pthread_cond_signal")(which);
}

/* Those that wait here as well are awake, and will not sleep. */
int pthread_mutex_unlock(pthread_mutex_t *which)
{
    has--;
    if (which != &mutex && has_woken && number("HELD_MUTEX")) {
        time_t limit = time(NULL) + 10;

        atomic_fetch_add(&giving_back, 1);
        while (awake() >= atomic_load(&giving_back))
            if (time(NULL) > limit)
                never();
        atomic_fetch_sub(&giving_back, 1);
        has_woken = 0;
    }
    return REAL(pthread_mutex_unlock, "pthread_mutex_unlock")(which);
}

int pthread_join(pthread_t thread, void **result)
{
    pthread_mutex_lock(&mutex);
    over = 1;
    pthread_cond_broadcast(&news);
    pthread_mutex_unlock(&mutex);
    return REAL(pthread_join, "pthread_join")(thread, result);
}
