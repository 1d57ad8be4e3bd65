/*
 * faults.c --
 *
 *	Lets chosen system calls of a process fail, for tests of what a server
 *	does when its disk does. To be loaded by LD_PRELOAD.
 *
 *	The calls of interest are trapped by seccomp(2), so that those count
 *	too that are made without the C library. Only calls that name a file
 *	below the directory FAULTS_DIR, or use a descriptor of a regular file
 *	or of a directory there, are counted. The test and the process share the
 *	file FAULTS_FILE, which holds `struct control`.
 *
 *	Linux on x86-64 and on arm64.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

/* Native byte order, each a 32-bit number; the test reads and writes them. */
struct control {
    int32_t at;		/* which call is struck, from 1; 0: none */
    int32_t action;	/* an error number, or KILL, or PAUSE */
    int32_t count;	/* calls so far */
    int32_t paused;	/* a call waits until this is 0 */
    int32_t struck;	/* number of the call that was struck; -1: none yet */
    int32_t also;	/* how many calls after that fail too */
    int32_t lacks;	/* what the file system does not have: CACHE, LINKS */
};
enum { KILL = -1, PAUSE = -2 };
enum { CACHE = 1, LINKS = 2 };

static struct control *control;
static const char *directory;
static size_t directory_length;

/* Makes a call that the filter lets pass, by where it comes from. */
extern const char faults_passed[];
long faults_pass(long nr, long a, long b, long c, long d, long e, long f);
#if defined(__x86_64__)
__asm__(".text\n.globl faults_pass, faults_passed\n.hidden faults_pass, faults_passed\n"
    "faults_pass:\n"
    "mov %rdi, %rax\nmov %rsi, %rdi\nmov %rdx, %rsi\nmov %rcx, %rdx\n"
    "mov %r8, %r10\nmov %r9, %r8\nmov 8(%rsp), %r9\nsyscall\n"
    "faults_passed: ret\n");
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
__asm__(".text\n.globl faults_pass, faults_passed\n.hidden faults_pass, faults_passed\n"
    "faults_pass:\n"
    "mov x8, x0\nmov x0, x1\nmov x1, x2\nmov x2, x3\n"
    "mov x3, x4\nmov x4, x5\nmov x5, x6\nsvc #0\n"
    "faults_passed: ret\n");
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "not known here"
#endif

/* How a call names its file. */
enum { FD, AT, PATH };
static const struct { int nr, names; } calls[] = {
    { SYS_openat, AT }, { SYS_openat2, AT }, { SYS_newfstatat, AT }, { SYS_statx, AT },
    { SYS_unlinkat, AT }, { SYS_renameat, AT }, { SYS_renameat2, AT }, { SYS_linkat, AT },
    { SYS_mkdirat, AT }, { SYS_faccessat, AT }, { SYS_faccessat2, AT }, { SYS_fchmodat, AT },
#ifdef SYS_open
    { SYS_open, PATH }, { SYS_stat, PATH }, { SYS_lstat, PATH }, { SYS_unlink, PATH },
    { SYS_rename, PATH }, { SYS_link, PATH }, { SYS_access, PATH }, { SYS_chmod, PATH },
#endif
    { SYS_fstat, FD }, { SYS_read, FD }, { SYS_pread64, FD }, { SYS_preadv2, FD },
    { SYS_write, FD }, { SYS_pwrite64, FD }, { SYS_lseek, FD }, { SYS_getdents64, FD },
    { SYS_flock, FD }, { SYS_fsync, FD }, { SYS_fdatasync, FD }, { SYS_fstatfs, FD },
    { SYS_ftruncate, FD }, { SYS_fchmod, FD }, { SYS_fcntl, FD },
};
#define CALLS (sizeof calls / sizeof *calls)

static int is_below(const char *path)
{
    return strncmp(path, directory, directory_length) == 0;
}

static int fd_is_below(int fd)
{
    char link[64], path[4096];
    struct stat found;
    if (fd < 0 || faults_pass(SYS_fstat, fd, (long)&found, 0, 0, 0, 0) < 0
	    || !(S_ISREG(found.st_mode) || S_ISDIR(found.st_mode))) {
	return 0;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long n = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (n < 0) {
	return 0;
    }
    path[n] = 0;
    return is_below(path);
}

static int concerns(const int names, const unsigned long a[6], int nr)
{
    switch (names) {
    case PATH:
	return a[0] && is_below((const char *)a[0]);
    case AT:
	if (!a[1]) {
	    return 0;
	}
	return *(const char *)a[1] == '/' ? is_below((const char *)a[1]) : fd_is_below((int)a[0]);
    default:
	/* Of fcntl(2) only what makes a descriptor. */
	return (nr != SYS_fcntl || a[1] == F_DUPFD || a[1] == F_DUPFD_CLOEXEC)
	    && fd_is_below((int)a[0]);
    }
}

static int is_link(int nr)
{
#ifdef SYS_link
    if (nr == SYS_link) {
	return 1;
    }
#endif
    return nr == SYS_linkat;
}

/* What becomes of a call: an error, or 0 to make it. */
static long strike(int nr)
{
    int count, at = __atomic_load_n(&control->at, __ATOMIC_SEQ_CST);
    /* What may not wait for a disk finds nothing in memory. */
    if (control->lacks & CACHE && (nr == SYS_preadv2 || nr == SYS_openat2)) {
	return -EAGAIN;
    }
    if (control->lacks & LINKS && is_link(nr)) {
	return -EPERM;
    }
    count = __atomic_add_fetch(&control->count, 1, __ATOMIC_SEQ_CST);
    if (!at || count < at || count > at + control->also) {
	return 0;
    }
    if (count == at) {
	control->struck = nr;
    }
    switch (control->action) {
    case KILL:
	syscall(SYS_kill, getpid(), SIGKILL);
	return 0;
    case PAUSE:
	if (count == at) {
	    __atomic_store_n(&control->paused, 1, __ATOMIC_SEQ_CST);
	    while (__atomic_load_n(&control->paused, __ATOMIC_SEQ_CST)) {
		struct timespec moment = { 0, 200000 };
		nanosleep(&moment, NULL);
	    }
	}
	return 0;
    default:
	return -(long)control->action;
    }
}

static void trapped(int signal, siginfo_t *info, void *context)
{
    ucontext_t *frame = context;
    int saved = errno, nr = info->si_syscall;
    unsigned long a[6];
    long result = 0;
    (void)signal;
#if defined(__x86_64__)
    greg_t *r = frame->uc_mcontext.gregs;
    a[0] = r[REG_RDI]; a[1] = r[REG_RSI]; a[2] = r[REG_RDX];
    a[3] = r[REG_R10]; a[4] = r[REG_R8]; a[5] = r[REG_R9];
#else
    for (int i = 0; i < 6; i++) {
	a[i] = frame->uc_mcontext.regs[i];
    }
#endif
    for (size_t i = 0; i < CALLS; i++) {
	if (calls[i].nr == nr && concerns(calls[i].names, a, nr)) {
	    result = strike(nr);
	}
    }
    if (!result) {
	result = faults_pass(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    }
#if defined(__x86_64__)
    r[REG_RAX] = result;
#else
    frame->uc_mcontext.regs[0] = result;
#endif
    errno = saved;
}

/* Threads that block all signals would be ended by the trap. */
int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    static int (*real)(int, const sigset_t *, sigset_t *);
    sigset_t without;
    if (!real) {
	real = (int (*)(int, const sigset_t *, sigset_t *))dlsym(RTLD_NEXT, "pthread_sigmask");
    }
    if (set) {
	without = *set;
	sigdelset(&without, SIGSYS);
	set = &without;
    }
    return real(how, set, old);
}

static void install(void)
{
    struct sock_filter filter[CALLS + 8];
    uint64_t passed = (uint64_t)(uintptr_t)faults_passed;
    size_t n = 0;
#define WORD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define HIGH_WORD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field) + 4)
#define IF_NOT(value, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, (skip))
    filter[n++] = (struct sock_filter)WORD(instruction_pointer);
    filter[n++] = (struct sock_filter)IF_NOT((uint32_t)passed, 3);
    filter[n++] = (struct sock_filter)HIGH_WORD(instruction_pointer);
    filter[n++] = (struct sock_filter)IF_NOT((uint32_t)(passed >> 32), 1);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[n++] = (struct sock_filter)WORD(nr);
    for (size_t i = 0; i < CALLS; i++) {
	filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i].nr, CALLS - i, 0);
    }
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
    struct sock_fprog program = { n, filter };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	    || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
	perror("seccomp");
	_exit(99);
    }
}

__attribute__((constructor)) static void begin(void)
{
    struct sigaction action = { .sa_sigaction = trapped, .sa_flags = SA_SIGINFO | SA_NODEFER };
    const char *file = getenv("FAULTS_FILE");
    int fd;
    directory = getenv("FAULTS_DIR");
    if (!file || !directory) {
	return;
    }
    /* Programs that this one starts have no part in it. */
    unsetenv("LD_PRELOAD");
    directory = strdup(directory);
    directory_length = strlen(directory);
    fd = open(file, O_RDWR | O_CLOEXEC);
    control = fd < 0 ? MAP_FAILED
	: mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (control == MAP_FAILED) {
	perror(file);
	_exit(99);
    }
    close(fd);
    sigaction(SIGSYS, &action, NULL);
    install();
}
