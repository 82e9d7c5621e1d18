cdef class Room:
    cdef bytes made                # None: to be read only
    cdef char *memory              # kept by whoever made this
    cdef Py_ssize_t nbytes
    cdef int nr_views

cdef Room room_of(bytes made, char *memory, Py_ssize_t nbytes)
cdef bytes fill_room(object fill, object data, Room room)
cdef bytes fill_from(object fill, object data, Py_ssize_t nbytes)
