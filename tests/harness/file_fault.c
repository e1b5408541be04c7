/* Interferes with the Nth call that changes a file below a directory.
 *
 * Preloaded into the program under test. One counter for all threads: the program is cut off at one
 * point, as by a power cut.
 *
 *   METERD_FAULT_UNDER   the directory, absolute
 *   METERD_FAULT_AT      the first call that is meant, from 0
 *   METERD_FAULT_TIMES   how many from there on are; 0: all
 *   METERD_FAULT_KIND    before  SIGKILL just before the call
 *                        after   SIGKILL just behind it
 *                        torn    half of what is written, then SIGKILL
 *                        short   half of what is written, which is what is answered
 *                        eio, enospc  the call fails and does nothing
 *   METERD_FAULT_COUNT   a file that is told at the end how many calls there were
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { NONE, BEFORE, AFTER, TORN, SHORT, FAIL };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static atomic_long calls;
static long at, times;
static enum kind wanted;
static int error;
static const char *under;

static void set_up(void) {
    const char *kind = getenv("METERD_FAULT_KIND");
    under = getenv("METERD_FAULT_UNDER");
    if (!kind || !under) return;
    at = atol(getenv("METERD_FAULT_AT"));
    times = atol(getenv("METERD_FAULT_TIMES"));
    wanted = !strcmp(kind, "before") ? BEFORE
           : !strcmp(kind, "after")  ? AFTER
           : !strcmp(kind, "torn")   ? TORN
           : !strcmp(kind, "short")  ? SHORT
                                     : FAIL;
    error = !strcmp(kind, "enospc") ? ENOSPC : EIO;
}

static FILE *told;

/* At the start: later the program is in its sandbox. */
__attribute__((constructor)) static void open_count(void) {
    const char *path = getenv("METERD_FAULT_COUNT");
    told = path ? fopen(path, "we") : NULL;
}

__attribute__((destructor)) static void count(void) {
    if (!told) return;
    fprintf(told, "%ld", atomic_load(&calls));
    fclose(told);
}

static int is_below(const char *path) {
    return under && !strncmp(path, under, strlen(under));
}

static int is_ours(int fd) {
    char link[64], path[PATH_MAX];
    pthread_once(&once, set_up);
    if (!under || fd < 3) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return is_below(path);
}

static int is_our_path(const char *path) {
    pthread_once(&once, set_up);
    return is_below(path);
}

/* What is to happen to this call. */
static enum kind step(int counts) {
    if (!counts) return NONE;
    long now = atomic_fetch_add(&calls, 1);
    if (now < at || (times && now >= at + times)) return NONE;
    if (wanted == BEFORE) kill(getpid(), SIGKILL);
    return wanted;
}

static long failed(void) {
    errno = error;
    return -1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* A call that does all or nothing. */
#define WHOLE(type, name, parameters, arguments, counts)  \
    type name parameters {                                \
        enum kind now = step(counts);                     \
        if (now == FAIL) return failed();                 \
        type answer = REAL(name) arguments;               \
        if (now == AFTER || now == TORN) kill(getpid(), SIGKILL); \
        return answer;                                    \
    }

/* A call that can do a part: `some` are its arguments for half of it. */
#define PARTIAL(name, parameters, arguments, some)                 \
    ssize_t name parameters {                                      \
        enum kind now = step(is_ours(fd));                         \
        if (now == FAIL) return failed();                          \
        ssize_t answer = now == TORN || now == SHORT ? REAL(name) some : REAL(name) arguments; \
        if (now == AFTER || now == TORN) kill(getpid(), SIGKILL);  \
        return answer;                                             \
    }

PARTIAL(write, (int fd, const void *data, size_t size), (fd, data, size), (fd, data, (size + 1) / 2))
PARTIAL(writev, (int fd, const struct iovec *parts, int count), (fd, parts, count), (fd, parts, (count + 1) / 2))
PARTIAL(pwrite, (int fd, const void *data, size_t size, off_t to), (fd, data, size, to), (fd, data, (size + 1) / 2, to))
PARTIAL(pwrite64, (int fd, const void *data, size_t size, off64_t to), (fd, data, size, to), (fd, data, (size + 1) / 2, to))
WHOLE(int, fsync, (int fd), (fd), is_ours(fd))
WHOLE(int, fdatasync, (int fd), (fd), is_ours(fd))
WHOLE(int, ftruncate, (int fd, off_t size), (fd, size), is_ours(fd))
WHOLE(int, ftruncate64, (int fd, off64_t size), (fd, size), is_ours(fd))
WHOLE(int, unlink, (const char *path), (path), is_our_path(path))
WHOLE(int, mkdir, (const char *path, mode_t mode), (path, mode), is_our_path(path))
WHOLE(int, rename, (const char *from, const char *to), (from, to), is_our_path(from))

#define OPEN(name)                                          \
    int name(const char *path, int flags, ...) {            \
        va_list more;                                       \
        va_start(more, flags);                              \
        int mode = va_arg(more, int);                       \
        va_end(more);                                       \
        enum kind now = step(flags & O_CREAT && is_our_path(path)); \
        if (now == FAIL) return failed();                   \
        int answer = REAL(name)(path, flags, mode);         \
        if (now == AFTER || now == TORN) kill(getpid(), SIGKILL); \
        return answer;                                      \
    }

OPEN(open)
OPEN(open64)
