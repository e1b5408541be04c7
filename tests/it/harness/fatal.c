/* Ends the process by SIGKILL just before the Nth call that changes a file.
 *
 * Preloaded into the program under test. METERD_FATAL_AT counts from 0. One counter for all
 * threads: the program is cut off at one point, as by a power cut. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long calls;

static int is_file(int fd) {
    struct stat found;
    return fstat(fd, &found) == 0 && S_ISREG(found.st_mode);
}

static void step(void) {
    static atomic_long at = -2;
    long when = atomic_load(&at);
    if (when == -2) {
        const char *text = getenv("METERD_FATAL_AT");
        when = text ? atol(text) : -1;
        atomic_store(&at, when);
    }
    if (atomic_fetch_add(&calls, 1) == when) kill(getpid(), SIGKILL);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define WRAP(type, name, parameters, arguments, counts) \
    type name parameters {                              \
        if (counts) step();                             \
        return REAL(name) arguments;                    \
    }

WRAP(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size), is_file(fd))
WRAP(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count), is_file(fd))
WRAP(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at), is_file(fd))
WRAP(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at), is_file(fd))
WRAP(int, fsync, (int fd), (fd), 1)
WRAP(int, fdatasync, (int fd), (fd), 1)
WRAP(int, ftruncate, (int fd, off_t size), (fd, size), 1)
WRAP(int, ftruncate64, (int fd, off64_t size), (fd, size), 1)
WRAP(int, unlink, (const char *path), (path), 1)
WRAP(int, rename, (const char *from, const char *to), (from, to), 1)

#define OPEN(name)                                \
    int name(const char *path, int flags, ...) {  \
        va_list more;                             \
        va_start(more, flags);                    \
        int mode = va_arg(more, int);             \
        va_end(more);                             \
        if (flags & O_CREAT) step();              \
        return REAL(name)(path, flags, mode);     \
    }

OPEN(open)
OPEN(open64)
