/* Starting a unikernel as an OS process of Linux. */
#ifndef BL_LAUNCH_H
#define BL_LAUNCH_H

#include <linux/filter.h>
#include <stdint.h>

enum { BL_FIRST_SPARE = 16, BL_IMAGE = 10 }; /* descriptors: from where on the child keeps what it moves; of the image */

typedef struct bl_launch {
    int descriptors[6]; /* what become 0 to 5 */
    int image;          /* a static ELF program */
    uint64_t cores[16]; /* those that it runs on: bits, of the lowest first */
    int user;           /* and group, if we are root */
    int leaves_group;   /* has a session of its own, or stays in our group */
    int parent;         /* our own pid: it dies when the thread that calls bl_start does */
    uint64_t memory;    /* bytes of address space */
    uint64_t cpu;       /* seconds of CPU time */
    struct sock_fprog filter;
    uint64_t nonce;     /* what the filter wants as the sixth argument of execveat, which the kernel ignores */
    const char *name;   /* its argv[0] */
} bl_launch;

/* Start it, behind its filter from its first instruction on. Its pid; or -errno, with *step naming what failed. */
int bl_start(const bl_launch *how, const char **step);

#endif
