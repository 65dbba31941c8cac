/* The child of a vfork shares our memory until it executes the image: it makes system calls, raw ones, and touches nothing else. glibc's
   wrappers of setresuid and its like would tell our other threads. */
#define _GNU_SOURCE
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4
#endif

/* What failed; NULL if nothing did, which is never: it is the image then. */
static const char *become(const bl_launch *how)
{
    static char *const nothing[] = {NULL};
    char *const arguments[] = {(char *)how->name, NULL};
    int moved[7];
    sigset_t none;
    for (int i = 0; i < 7; i++) /* out of the way of each other's places */
        if ((moved[i] = fcntl(i < 6 ? how->descriptors[i] : how->image, F_DUPFD_CLOEXEC, BL_FIRST_SPARE)) < 0)
            return "dup";
    for (int i = 0; i < 6; i++)
        if (dup2(moved[i], i) < 0)
            return "dup2";
    if (dup3(moved[6], BL_IMAGE, O_CLOEXEC) < 0)
        return "dup3";
    if (syscall(SYS_close_range, 6, ~0u, CLOSE_RANGE_CLOEXEC))
        return "close_range";
    if (how->leaves_group) /* Ctrl-C at our terminal is ours */
        setsid();
    for (int number = 1; number < 65; number++) /* no handler of ours runs here, and what we ignore it does not */
        signal(number, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (syscall(SYS_sched_setaffinity, 0, sizeof how->cores, how->cores) < 0)
        return "sched_setaffinity";
    const struct rlimit memory = {how->memory, how->memory}, cpu = {how->cpu, how->cpu + 1}, zero = {0, 0}, files = {BL_IMAGE + 1, BL_IMAGE + 1};
    if (setrlimit(RLIMIT_AS, &memory) || setrlimit(RLIMIT_CPU, &cpu) || setrlimit(RLIMIT_CORE, &zero) || setrlimit(RLIMIT_NOFILE, &files))
        return "setrlimit";
    if (geteuid() == 0) {
        if (syscall(SYS_setgroups, 0, NULL) || syscall(SYS_setresgid, how->user, how->user, how->user) ||
            syscall(SYS_setresuid, how->user, how->user, how->user))
            return "setresuid";
    }
    if (prctl(PR_SET_PDEATHSIG, SIGKILL))
        return "PR_SET_PDEATHSIG";
    if (getppid() != how->parent) /* it had died before that was said */
        _exit(1);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return "PR_SET_NO_NEW_PRIVS";
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &how->filter))
        return "seccomp";
    syscall(SYS_execveat, BL_IMAGE, "", arguments, nothing, AT_EMPTY_PATH, how->nonce);
    return "execveat";
}

int bl_start(const bl_launch *how, const char **step)
{
    sigset_t all, before;
    volatile int error = 0;
    const char *volatile failed = NULL;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* no handler of ours runs in the child */
    const pid_t pid = vfork();
    if (pid == 0) {
        failed = become(how);
        error = errno;
        _exit(1);
    }
    const int refused = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    *step = pid < 0 ? "vfork" : failed;
    if (pid < 0)
        return -refused;
    if (failed == NULL)
        return pid;
    int status;
    while (syscall(SYS_wait4, pid, &status, 0, NULL) < 0 && errno == EINTR) {}
    return -error;
}
