/*
 * filter: run a program under a seccomp filter that refuses some system calls.
 *
 *     filter CALL[,CALL]... ERROR|kill PROGRAM [ARGUMENT]...
 *
 * CALL is one of those in the table below, and ERROR an errno by its name. What is
 * not filtered reaches the kernel. The filter stays for all that the program
 * starts. Exits with 127, and a message, where the kernel takes no filter.
 */
#define _GNU_SOURCE /* strerrorname_np() */
#include <err.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
    const char *name;
    unsigned number;
} calls[] = {{"io_uring_setup", SYS_io_uring_setup},
             {"io_uring_enter", SYS_io_uring_enter},
             {"io_uring_register", SYS_io_uring_register},
             {"io_setup", SYS_io_setup},
             {"io_submit", SYS_io_submit}};
enum { CALLS = sizeof(calls) / sizeof(*calls), ERRORS = 134 };

static unsigned number_of(const char *call)
{
    for (unsigned i = 0; i < CALLS; i++)
        if (strcmp(call, calls[i].name) == 0)
            return calls[i].number;
    errx(2, "unknown call %s", call);
}

static unsigned answer_of(const char *word)
{
    if (strcmp(word, "kill") == 0)
        return SECCOMP_RET_KILL_PROCESS;
    for (unsigned error = 1; error < ERRORS; error++) {
        const char *name = strerrorname_np((int)error);
        if (name && strcmp(word, name) == 0)
            return SECCOMP_RET_ERRNO | error;
    }
    errx(2, "unknown error %s", word);
}

int main(int argc, char **argv)
{
    struct sock_filter rules[2 * CALLS + 2];
    unsigned short n = 0;

    if (argc < 4)
        errx(2, "usage: filter CALL[,CALL]... ERROR|kill PROGRAM [ARG]...");
    unsigned answer = answer_of(argv[2]);

    rules[n++] = (struct sock_filter)BPF_STMT(
        BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (char *call = strtok(argv[1], ","); call && n < 2 * CALLS;
         call = strtok(NULL, ",")) {
        rules[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                                  number_of(call), 0, 1);
        rules[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, answer);
    }
    rules[n++] =
        (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog filter = {n, rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0))
        err(127, "installing a filter");
    execvp(argv[3], argv + 3);
    err(127, "running %s", argv[3]);
}
