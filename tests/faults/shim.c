/* Preloaded before the C library: counts the calls that change files below a folder, and at the n-th one ends the
   process or lets the call fail. Python, PyTorch and Rust alike write through these calls. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, KILL, TEAR, FAIL, FAIL_ON };  /* TEAR: a write is done by half before the kill; FAIL_ON: and all after */

static char folder[PATH_MAX];
static long number, calls;
static int action, error, is_armed;

/* Start counting: at the n-th call below `path` comes the action; the error is for failing ones. */
void faults_arm(const char *path, long n, int what, int code) {
    snprintf(folder, sizeof folder, "%s", path);
    number = n; action = what; error = code; calls = 0; is_armed = 1;
}

long faults_disarm(void) { is_armed = 0; return calls; }

static int is_below(const char *path) {
    size_t size = strlen(folder);
    return strncmp(path, folder, size) == 0 && (path[size] == 0 || path[size] == '/');
}

static int of_path(int base, const char *path) {
    if (!is_armed) return 0;
    if (path[0] == '/') return is_below(path);
    char link[64], start[PATH_MAX];
    snprintf(link, sizeof link, base == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", base);
    ssize_t size = readlink(link, start, sizeof start - 1);
    if (size < 0) return 0;
    start[size] = 0;
    return is_below(start);
}

static int of_file(int file) { return is_armed && of_path(file, "."); }

static void end(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

/* Whether this call fails; `is_removal` ones never do: a full disk lets files be removed. */
static int fails(int is_removal) {
    long n = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    if (n == number && (action == KILL || action == TEAR)) end();
    if (is_removal || !((action == FAIL && n == number) || (action == FAIL_ON && n >= number))) return 0;
    errno = error;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int file, const void *data, size_t size) {
    if (of_file(file)) {
        if (action == TEAR && calls + 1 == number) REAL(write)(file, data, size / 2);
        if (fails(0)) return -1;
    }
    return REAL(write)(file, data, size);
}
ssize_t writev(int file, const struct iovec *parts, int count) {
    return of_file(file) && fails(0) ? -1 : REAL(writev)(file, parts, count);
}
ssize_t pwrite(int file, const void *data, size_t size, off_t place) {
    return of_file(file) && fails(0) ? -1 : REAL(pwrite)(file, data, size, place);
}
ssize_t pwrite64(int file, const void *data, size_t size, off64_t place) {
    return of_file(file) && fails(0) ? -1 : REAL(pwrite64)(file, data, size, place);
}
int ftruncate(int file, off_t size) { return of_file(file) && fails(0) ? -1 : REAL(ftruncate)(file, size); }
int ftruncate64(int file, off64_t size) { return of_file(file) && fails(0) ? -1 : REAL(ftruncate64)(file, size); }
int fsync(int file) { return of_file(file) && fails(0) ? -1 : REAL(fsync)(file); }
int fdatasync(int file) { return of_file(file) && fails(0) ? -1 : REAL(fdatasync)(file); }

#define OPEN(name, base, file, ...)                                                       \
    int mode = 0;                                                                         \
    if (flags & O_CREAT) { va_list list; va_start(list, flags); mode = va_arg(list, int); va_end(list); } \
    if ((flags & (O_CREAT | O_TRUNC)) && of_path(base, file) && fails(0)) return -1;      \
    return REAL(name)(__VA_ARGS__, flags, mode);

int open(const char *file, int flags, ...) { OPEN(open, AT_FDCWD, file, file) }
int open64(const char *file, int flags, ...) { OPEN(open64, AT_FDCWD, file, file) }
int openat(int base, const char *file, int flags, ...) { OPEN(openat, base, file, base, file) }
int openat64(int base, const char *file, int flags, ...) { OPEN(openat64, base, file, base, file) }

#define NAMES(name, is_removal, base, path, parameters, arguments)                        \
    int name parameters { return of_path(base, path) && fails(is_removal) ? -1 : REAL(name) arguments; }

NAMES(rename, 0, AT_FDCWD, to, (const char *from, const char *to), (from, to))
NAMES(renameat, 0, base, to, (int from_base, const char *from, int base, const char *to), (from_base, from, base, to))
NAMES(link, 0, AT_FDCWD, to, (const char *from, const char *to), (from, to))
NAMES(mkdir, 0, AT_FDCWD, path, (const char *path, mode_t mode), (path, mode))
NAMES(mkdirat, 0, base, path, (int base, const char *path, mode_t mode), (base, path, mode))
NAMES(unlink, 1, AT_FDCWD, path, (const char *path), (path))
NAMES(unlinkat, 1, base, path, (int base, const char *path, int flags), (base, path, flags))
NAMES(rmdir, 1, AT_FDCWD, path, (const char *path), (path))
