/*
 * held: each thread of a pool and its event loop wait for each other, where a test wants
 * it.
 *
 *     HELD_TURNS=3 HELD_READS=4 LD_PRELOAD=build/libheld.so build/bin/05-thread-pool
 *
 * This library steps between a program and the kernel. Which of two threads is quicker
 * is then no matter of luck: one is held back until the other has got so far. If that one
 * never does, the program ends: after ten seconds without news, after five in
 * pthread_join(), or after 100000 turns without a write (with HELD_LOOK, 5000). A turn is a
 * call of epoll_wait() in the main thread.
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
 *                   back when all others sleep: if one of them needs it, it waits for it.
 *                   And the main thread takes a mutex when all others sleep, or are held
 *                   like that
 *     HELD_LOOK=1   a thread that is about to sleep on a condition, because of what it has
 *                   just seen, goes to sleep after the next broadcast or signal. So that
 *                   one is lost. But if anybody wants the mutex that this thread has, it
 *                   goes to sleep at once: who takes the mutex to change what the thread
 *                   looked at loses nothing. The main thread goes on after
 *                   pthread_create(), and after it has given a mutex back, when one is
 *                   held like that, and all others sleep
 *     HELD_GUARD=1  a thread has to have had a mutex between its read and its news of it,
 *                   and the main thread between the eventfd's counter and its next turn
 *     HELD_ERROR=e  the first pread() of a thread fails with that errno
 *
 * POSIX allows to wake others with the mutex or without it. So a thread that has a mutex
 * in its eventfd_write() is not held any longer when the main thread wants one.
 *
 * The main thread's own pread() goes through. In pthread_join() the main thread lets go
 * of all others, but for those that HELD_LOOK has put to sleep.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
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
static unsigned long turns, reads, writes, wakes;
static unsigned long want; /* Threads that wait for a mutex, or ask for it. */
static int over, main_wants, eventfd_of_loop = -1;

/* How many mutexes this thread has, and whether it has woken another one with them. */
static _Thread_local int has, has_woken;
static _Thread_local int has_had; /* A mutex, since its read. */

static unsigned long number(const char *name)
{
    const char *text = getenv(name);

    return text ? strtoul(text, NULL, 10) : 0;
}

static int is_main(void)
{
    return gettid() == getpid();
}

static void tell(void)
{
    REAL(pthread_cond_broadcast, "pthread_cond_broadcast")(&news);
}

/* Something has got further. The mutex is ours. */
static void count(unsigned long *counter)
{
    ++*counter;
    tell();
}

__attribute__((noreturn)) static void never(void)
{
    static const char text[] = "it never ends\n";

    _exit(write(STDERR_FILENO, text, sizeof(text) - 1) > 0 ? 1 : 3);
}

/* Until that counter has got so far. The mutex is ours. */
static void hold_once(void)
{
    struct timespec limit;

    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 10;
    if (pthread_cond_timedwait(&news, &mutex, &limit) == ETIMEDOUT)
        never();
}

static void hold(const unsigned long *counter, unsigned long enough)
{
    while (*counter < enough && !over)
        hold_once();
}

static void lock(void)
{
    REAL(pthread_mutex_lock, "pthread_mutex_lock")(&mutex);
}

static void unlock(void)
{
    REAL(pthread_mutex_unlock, "pthread_mutex_unlock")(&mutex);
}

static void hold_for_turns(const char *name)
{
    lock();
    unsigned long enough = turns + number(name);
    while (turns < enough && !over && !(has && main_wants))
        hold_once();
    unlock();
}

/* --- Who sleeps ---------------------------------------------------------------- */

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

/* So many threads stand in pthread_mutex_unlock(). They are awake, and go on when no
   others are. */
static atomic_int giving_back;

/* One look takes a while. A thread that was seen asleep may have been woken by one that
   went to sleep before it was looked at. So it takes three looks. 1: this thread is one
   of those that are giving back. */
static void until_others_sleep(int of_them)
{
    time_t limit = time(NULL) + 10;

    for (int looks = 0; looks < 3; looks++) {
        sched_yield();
        if (awake() > atomic_load(&giving_back) - of_them)
            looks = -1;
        if (time(NULL) > limit)
            never();
    }
}

/* --- In the place of the kernel and of libc -------------------------------------- */

static int has_taken_counter; /* And the main thread has not gone on since. */

__attribute__((noreturn)) static void unguarded(void)
{
    static const char text[] = "it does without the mutex\n";

    _exit(write(STDERR_FILENO, text, sizeof(text) - 1) > 0 ? 1 : 3);
}

int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
{
    static unsigned long expected, last_write, last_turn;

    lock();
    count(&turns);
    if (writes != last_write) {
        last_write = writes;
        last_turn = turns;
    } else if (turns - last_turn > (number("HELD_LOOK") ? 5000 : 100000)) {
        never();
    }
    if (timeout < 0)
        hold(&writes, expected += number("HELD_NEWS"));
    unlock();
    if (has_taken_counter && !has_had)
        unguarded();
    has_taken_counter = 0;
    return REAL(epoll_wait, "epoll_wait")(epoll, events, most, timeout);
}

/* Where off_t is asked to have 64 bits, pread() gets this name, here and there. */
ssize_t pread(int fd, void *data, size_t bytes, off_t offset)
{
    ssize_t n = REAL(pread, "pread64")(fd, data, bytes, offset);
    int error = errno;

    if (is_main())
        return n;
    has_had = 0;
    unsigned long group = number("HELD_READS");
    lock();
    unsigned long enough = turns + number("HELD_TURNS");
    unsigned long full = group ? (reads / group + 1) * group : 0;
    if (reads == 0 && number("HELD_ERROR")) {
        n = -1;
        error = (int)number("HELD_ERROR");
    }
    count(&reads);
    hold(&reads, full);
    hold(&turns, enough);
    unlock();
    errno = error;
    return n;
}

int eventfd(unsigned value, int flags)
{
    return eventfd_of_loop = REAL(eventfd, "eventfd")(value, flags);
}

int eventfd_write(int fd, eventfd_t value)
{
    if (!is_main() && number("HELD_GUARD") && !has_had)
        unguarded();
    if (!is_main())
        hold_for_turns("HELD_WAKE");
    has_woken = has > 0;
    int failed = REAL(eventfd_write, "eventfd_write")(fd, value);
    lock();
    count(&writes);
    unlock();
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
        lock();
        hold(&writes, number("HELD_DRAIN"));
        unlock();
        has_taken_counter = number("HELD_GUARD") > 0;
        has_had = 0;
    }
    return REAL(read, "read")(fd, data, bytes);
}

static _Atomic(pthread_cond_t *) slept_on; /* The program's condition. */

/* Wake all of them for no reason, which POSIX allows. They look, and one of them is held
   with the mutex. */
static void let_all_look(void)
{
    pthread_cond_t *which = atomic_load(&slept_on);

    until_others_sleep(0);
    if (which)
        REAL(pthread_cond_broadcast, "pthread_cond_broadcast")(which);
    until_others_sleep(0);
}

/* Who wants it says so before it waits. */
int pthread_mutex_lock(pthread_mutex_t *which)
{
    if (is_main() && number("HELD_MUTEX"))
        until_others_sleep(0);
    lock();
    count(&want);
    if (is_main())
        main_wants = 1;
    tell();
    unlock();
    int failed = REAL(pthread_mutex_lock, "pthread_mutex_lock")(which);
    lock();
    want--;
    if (is_main())
        main_wants = 0;
    unlock();
    has++;
    has_had = 1;
    return failed;
}

int pthread_mutex_unlock(pthread_mutex_t *which)
{
    has--;
    if (has_woken && number("HELD_MUTEX")) {
        atomic_fetch_add(&giving_back, 1);
        until_others_sleep(1);
        atomic_fetch_sub(&giving_back, 1);
        has_woken = 0;
    }
    int failed = REAL(pthread_mutex_unlock, "pthread_mutex_unlock")(which);
    if (is_main() && number("HELD_LOOK"))
        let_all_look();
    return failed;
}

/* Counted when it is done: who is held until then has missed it. */
static void has_told(void)
{
    lock();
    count(&wakes);
    unlock();
}

int pthread_cond_signal(pthread_cond_t *which)
{
    has_woken = has > 0;
    int failed = REAL(pthread_cond_signal, "pthread_cond_signal")(which);
    has_told();
    return failed;
}

int pthread_cond_broadcast(pthread_cond_t *which)
{
    has_woken = has > 0;
    int failed = REAL(pthread_cond_broadcast, "pthread_cond_broadcast")(which);
    has_told();
    return failed;
}

/* Between the look and the sleep. */
int pthread_cond_wait(pthread_cond_t *which, pthread_mutex_t *with)
{
    lock();
    atomic_store(&slept_on, which);
    unsigned long enough = wakes + (number("HELD_LOOK") > 0);
    while (wakes < enough && !want)
        hold_once();
    unlock();
    return REAL(pthread_cond_wait, "pthread_cond_wait")(which, with);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                   void *(*run)(void *), void *argument)
{
    int failed = REAL(pthread_create, "pthread_create")(thread, attributes, run,
                                                        argument);

    if (number("HELD_LOOK"))
        until_others_sleep(0);
    return failed;
}

int pthread_join(pthread_t thread, void **result)
{
    struct timespec limit;

    lock();
    over = 1;
    tell();
    unlock();
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 5;
    int failed = pthread_timedjoin_np(thread, result, &limit);
    if (failed == ETIMEDOUT)
        never();
    return failed;
}
