# L0: mappings. What teardown needs is here as nogil functions that cannot fail; the rest are Python functions on addresses.
from libc.stdint cimport uint64_t

cdef extern from * nogil:
    """
    #include <errno.h>
    #include <fcntl.h>
    #include <sys/mman.h>
    #include <sys/vfs.h>
    #include <unistd.h>
    #ifndef MADV_WIPEONFORK
    #define MADV_WIPEONFORK 18
    #endif
    #ifndef MADV_POPULATE_WRITE
    #define MADV_POPULATE_WRITE 23
    #endif
    """
    enum: PROT_NONE, PROT_READ, PROT_WRITE
    enum: MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS, MAP_FIXED, MAP_NORESERVE
    enum: MADV_HUGEPAGE, MADV_WIPEONFORK, MADV_POPULATE_WRITE
    enum: FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE
    enum: AT_FDCWD, AT_SYMLINK_FOLLOW
    void *mmap(void *address, size_t nbytes, int prot, int flags, int fd, long offset)
    int munmap(void *address, size_t nbytes)
    int madvise(void *address, size_t nbytes, int advice)
    int linkat(int from_dir, const char *from_path, int to_dir, const char *to_path, int flags)
    int c_close "close"(int fd)
    struct statfs_t "statfs":
        long f_type
    int fstatfs(int fd, statfs_t *out)
    int fallocate(int fd, int mode, long offset, long nbytes)

cdef void unmap_pages(char *address, uint64_t nbytes) noexcept nogil
cdef void close_fd(int fd) noexcept nogil
# Pages of a file, whole ones: they exist, so that touching them cannot fail; they do not, and read as zeros when they do
# again. 0, or an error number.
cdef int reserve_range(int fd, uint64_t offset, uint64_t nbytes) noexcept nogil
cdef int punch_range(int fd, uint64_t offset, uint64_t nbytes) noexcept nogil
