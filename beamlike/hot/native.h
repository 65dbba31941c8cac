/* What the compiled hot path says in C because Python has no word for it. The pure-Python twin is portable.py. */
#ifndef BEAMLIKE_NATIVE_H
#define BEAMLIKE_NATIVE_H
#include <Python.h>
#include <time.h>

/* The object that says "the coroutine returned", and the class of those that say what it raised; set once at import. */
static PyObject *bl_finished = NULL, *bl_failed = NULL;
static inline void bl_set_outcomes(PyObject *finished, PyObject *failed) {
    Py_XINCREF(finished); Py_XSETREF(bl_finished, finished);
    Py_XINCREF(failed); Py_XSETREF(bl_failed, failed);
}

/* The exception that is raised, as a value: nobody has it raised any more. */
static inline PyObject *bl_take_error(void) {
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
#endif
}

/* See `resume` in portable.py. */
static inline PyObject *bl_resume(PyObject *coro, PyObject *context) {
    PyObject *yielded = NULL;
    if (PyContext_Enter(context) < 0) return NULL;
    PySendResult outcome = PyIter_Send(coro, Py_None, &yielded);
    /* Exit sets an exception only if the context is not the current one, which would be our own mistake. */
    if (outcome == PYGEN_ERROR) {
        PyObject *error = bl_take_error();
        if (PyContext_Exit(context) < 0) PyErr_WriteUnraisable(context);
        PyObject *failed = PyObject_CallOneArg(bl_failed, error);
        Py_DECREF(error);
        return failed;
    }
    if (PyContext_Exit(context) < 0) { Py_XDECREF(yielded); return NULL; }
    if (outcome == PYGEN_RETURN) { Py_DECREF(yielded); return Py_NewRef(bl_finished); }
    return yielded;
}

/* A number that tells threads apart, asked for at every send: the thread pointer, one instruction. */
#if defined(__has_builtin)
#if __has_builtin(__builtin_thread_pointer)
#define BL_HAS_THREAD_POINTER
#endif
#endif
static inline unsigned long bl_get_ident(void) {
#ifdef BL_HAS_THREAD_POINTER
    return (unsigned long)__builtin_thread_pointer();
#else
    return PyThread_get_thread_ident();
#endif
}

/* Seconds of the clock that time.perf_counter() reads on Linux. */
static inline double bl_monotonic(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* The first 8 bytes of a memoryview, which must outlive the pointer; NULL of None. */
static inline long *bl_word_of(PyObject *memory) {
    return memory == Py_None ? NULL : (long *)PyMemoryView_GET_BUFFER(memory)->buf;
}

/* `await` on one of our awaitables without raising StopIteration: the type's am_send calls `poll(awaitable)`, which answers
   `pending` to wait on and anything else as the result. CPython 3.11 asks am_send; later ones ask __next__. */
typedef PyObject *(*bl_poll)(PyObject *);
static PyObject *bl_pending = NULL;
static inline void bl_set_pending(PyObject *pending) { Py_XINCREF(pending); Py_XSETREF(bl_pending, pending); }

static inline PySendResult bl_send_with(bl_poll poll, PyObject *self, PyObject **result) {
    *result = poll(self);
    if (*result == NULL) return PYGEN_ERROR;
    return *result == bl_pending ? PYGEN_NEXT : PYGEN_RETURN;
}
#define BL_MAX_POLLED 2
static bl_poll bl_polls[BL_MAX_POLLED];
static PySendResult bl_send_0(PyObject *s, PyObject *a, PyObject **r) { (void)a; return bl_send_with(bl_polls[0], s, r); }
static PySendResult bl_send_1(PyObject *s, PyObject *a, PyObject **r) { (void)a; return bl_send_with(bl_polls[1], s, r); }
static const sendfunc bl_sends[] = {bl_send_0, bl_send_1};

static inline void bl_poll_type(PyObject *type, int slot, bl_poll poll) {
    PyAsyncMethods *methods = ((PyTypeObject *)type)->tp_as_async;
    bl_polls[slot] = poll;
    if (methods != NULL) methods->am_send = bl_sends[slot];
    PyType_Modified((PyTypeObject *)type);
}
#endif
