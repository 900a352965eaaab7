/* What a program does to files beneath one folder, in order: preloaded into it, so that a test can say what a power
 * cut would have left (`power.py`). Every record is one append to the trace: length, kind, offset, path, data.
 *
 *   cc -shared -fPIC -O2 -o unsynced.so unsynced.c -ldl
 *   UNSYNCED_ROOT=/folder UNSYNCED_TRACE=/trace LD_PRELOAD=./unsynced.so program
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum { HIGH = 900 };
static int trace = -1;
static char root[PATH_MAX];
static size_t root_length;

__attribute__((constructor)) static void begin(void) {
  const char *folder = getenv("UNSYNCED_ROOT"), *file = getenv("UNSYNCED_TRACE");
  if (!folder || !file || strlen(folder) >= sizeof root) return;
  strcpy(root, folder);
  root_length = strlen(root);
  int opened = (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (opened < 0) abort();
  trace = fcntl(opened, F_DUPFD_CLOEXEC, HIGH);
  syscall(SYS_close, opened);
}

static void say(char kind, const char *path, uint64_t offset, const void *data, size_t length) {
  if (trace < 0 || strncmp(path, root, root_length) != 0) return;
  path += root_length;
  uint16_t name = (uint16_t)strlen(path);
  uint32_t total = (uint32_t)(1 + 8 + 2 + name + length);
  unsigned char *record = malloc(4 + total), *at = record;
  if (!record) abort();
  memcpy(at, &total, 4), at += 4;
  *at++ = (unsigned char)kind;
  memcpy(at, &offset, 8), at += 8;
  memcpy(at, &name, 2), at += 2;
  memcpy(at, path, name), at += name;
  if (length) memcpy(at, data, length);
  if (syscall(SYS_write, trace, record, 4 + total) != (long)(4 + total)) abort();
  free(record);
}

static int name_of(int descriptor, char *path) {
  char link[64];
  if (trace < 0 || descriptor == trace) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  return strncmp(path, root, root_length) == 0;
}

static void said(char kind, int descriptor, uint64_t offset, const void *data, size_t length) {
  char path[PATH_MAX];
  if (name_of(descriptor, path)) say(kind, path, offset, data, length);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int descriptor, const void *data, size_t length) {
  ssize_t done = REAL(write)(descriptor, data, length);
  char path[PATH_MAX];
  if (done > 0 && name_of(descriptor, path)) {
    off_t end = lseek(descriptor, 0, SEEK_CUR);
    if (end >= done) say('W', path, (uint64_t)(end - done), data, (size_t)done);
  }
  return done;
}

ssize_t pwrite(int descriptor, const void *data, size_t length, off_t offset) {
  ssize_t done = REAL(pwrite)(descriptor, data, length, offset);
  if (done > 0) said('W', descriptor, (uint64_t)offset, data, (size_t)done);
  return done;
}

ssize_t pwrite64(int descriptor, const void *data, size_t length, off64_t offset) {
  ssize_t done = REAL(pwrite64)(descriptor, data, length, offset);
  if (done > 0) said('W', descriptor, (uint64_t)offset, data, (size_t)done);
  return done;
}

int ftruncate(int descriptor, off_t length) {
  int done = REAL(ftruncate)(descriptor, length);
  if (done == 0) said('T', descriptor, (uint64_t)length, "", 0);
  return done;
}

int ftruncate64(int descriptor, off64_t length) {
  int done = REAL(ftruncate64)(descriptor, length);
  if (done == 0) said('T', descriptor, (uint64_t)length, "", 0);
  return done;
}

int fsync(int descriptor) {
  int done = REAL(fsync)(descriptor);
  if (done == 0) said('S', descriptor, 0, "", 0);
  return done;
}

int fdatasync(int descriptor) {
  int done = REAL(fdatasync)(descriptor);
  if (done == 0) said('S', descriptor, 0, "", 0);
  return done;
}

static void renamed(const char *from, const char *to) {
  char source[PATH_MAX], target[PATH_MAX], folder[PATH_MAX];
  if (trace < 0) return;
  /* the source is gone already: its folder is resolved, its name kept */
  const char *slash = strrchr(from, '/');
  snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - from) : 1, slash ? from : ".");
  if (!realpath(folder, source) || !realpath(to, target)) return;
  strncat(source, "/", sizeof source - strlen(source) - 1);
  strncat(source, slash ? slash + 1 : from, sizeof source - strlen(source) - 1);
  if (strncmp(source, root, root_length) == 0 && strncmp(target, root, root_length) == 0)
    say('R', source, 0, target + root_length, strlen(target + root_length));
}

int rename(const char *from, const char *to) {
  int done = REAL(rename)(from, to);
  if (done == 0) renamed(from, to);
  return done;
}

static void gone(const char *path) {
  char folder[PATH_MAX], whole[PATH_MAX];
  const char *slash = strrchr(path, '/');
  if (trace < 0) return;
  snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
  if (!realpath(folder, whole)) return;
  strncat(whole, "/", sizeof whole - strlen(whole) - 1);
  strncat(whole, slash ? slash + 1 : path, sizeof whole - strlen(whole) - 1);
  say('U', whole, 0, "", 0);
}

int unlink(const char *path) {
  int done = REAL(unlink)(path);
  if (done == 0) gone(path);
  return done;
}

static void opened(int descriptor, int flags) {
  if (descriptor >= 0 && (flags & O_TRUNC)) said('T', descriptor, 0, "", 0);
}

#define OPENS(name, before, arguments)                                                                                 \
  int name(before const char *path, int flags, ...) {                                                                  \
    va_list rest;                                                                                                      \
    va_start(rest, flags);                                                                                             \
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;                                          \
    va_end(rest);                                                                                                      \
    int done = REAL(name) arguments;                                                                                   \
    opened(done, flags);                                                                                               \
    return done;                                                                                                       \
  }
#define FIRST int folder,
OPENS(open, , (path, flags, mode))
OPENS(open64, , (path, flags, mode))
OPENS(openat, FIRST, (folder, path, flags, mode))
OPENS(openat64, FIRST, (folder, path, flags, mode))
