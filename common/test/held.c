/*
 * held: each thread of a pool and its event loop wait for each other, where a test wants
 * it.
 *
 *     HELD_TURNS=3 HELD_READS=4 LD_PRELOAD=build/libheld.so build/bin/05-thread-pool
 *
 * This library steps between a program and the kernel. Which of two threads is quicker
 * is then no matter of luck: one is held back until the other has got so far. If that
 * one never does, the program hangs. A turn is a call of epoll_wait() in the main thread.
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
 *     HELD_ERROR=e  the first pread() of a thread fails with that errno
 *
 * The main thread's own pread() goes through. In pthread_join() the main thread lets go
 * of all others.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* The function that the program would have called. */
#define REAL(name, as) (__extension__(__typeof__(name) *) dlsym(RTLD_NEXT, as))

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t news = PTHREAD_COND_INITIALIZER;
static unsigned long turns, reads, writes;
static int over, eventfd_of_loop = -1;

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

/* Until that counter has got so far. The mutex is ours. */
static void hold(const unsigned long *counter, unsigned long enough)
{
    while (*counter < enough && !over)
        pthread_cond_wait(&news, &mutex);
}

static void hold_for_turns(const char *name)
{
    pthread_mutex_lock(&mutex);
    hold(&turns, turns + number(name));
    pthread_mutex_unlock(&mutex);
}

int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
{
    static unsigned long expected;

    pthread_mutex_lock(&mutex);
    count(&turns);
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
    int failed = REAL(eventfd_write, "eventfd_write")(fd, value);
    pthread_mutex_lock(&mutex);
    count(&writes);
    pthread_mutex_unlock(&mutex);
    if (!is_main())
        hold_for_turns("HELD_WOKEN");
    return failed;
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

int pthread_join(pthread_t thread, void **result)
{
    pthread_mutex_lock(&mutex);
    over = 1;
    pthread_cond_broadcast(&news);
    pthread_mutex_unlock(&mutex);
    return REAL(pthread_join, "pthread_join")(thread, result);
}
