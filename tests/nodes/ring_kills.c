/* Real OS processes that write or read are really killed at any instruction; the survivor goes on. Argument: a factor. */
#include "ring_test.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct progress {
    _Atomic uint64_t done; /* messages of which the call returned */
} progress;

static uint8_t buffer[LONGEST];

/* Nothing moves before the other runs: there may be one core for both. */
static void let_the_other_run(int outcome) {
    CHECK(outcome == -BL_EAGAIN);
    sched_yield();
}

static pid_t child_that_writes(pair *p, progress *shared) {
    const pid_t child = fork();
    if (child != 0) return child;
    for (uint64_t n = 0;; n++) {
        uint32_t offset = 0;
        for (int outcome; (outcome = write_message(&p->writer, n, &offset)) < 0;) let_the_other_run(outcome);
        atomic_store(&shared->done, n + 1);
    }
}

static pid_t child_that_reads(pair *p, progress *shared) {
    const pid_t child = fork();
    if (child != 0) return child;
    for (uint64_t n = 0;;) {
        const int got = read_message(&p->reader, n, buffer);
        if (got == 0) atomic_store(&shared->done, ++n);
        else let_the_other_run(got);
    }
}

static void kill_and_reap(pid_t child) {
    int status;
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL); /* and not because its own checks failed */
}

int main(int argc, char **argv) {
    (void)argc;
    const uint64_t size = bl_pair_size(CAPACITY, CAPACITY), rounds = count_of(argv, 1500);
    uint8_t *const memory = mmap(NULL, size + BL_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    progress *const shared = (progress *)(void *)(memory + size);
    uint64_t total = 0, in_a_write = 0;
    for (uint64_t round = 0; round < rounds; round++) {
        pair p;
        memset(memory, 0, size + BL_PAGE);
        open_pair(&p, memory);
        const pid_t writer = child_that_writes(&p, shared);
        const uint64_t until = scramble(round) % 64; /* killed somewhere after this many messages: mostly in the middle of one */
        uint64_t received = 0;
        while (received < until) {
            const int got = read_message(&p.reader, received, buffer);
            if (got == 0) received++;
            else let_the_other_run(got);
        }
        for (volatile uint64_t i = scramble(~round) % 4096; i > 0; i--) {}
        kill_and_reap(writer);
        for (int got; (got = read_message(&p.reader, received, buffer)) != -BL_EAGAIN; received++) CHECK(got == 0);
        const uint64_t done = atomic_load(&shared->done);
        CHECK(received == done || received == done + 1);
        total += received;
        in_a_write += p.reader.gathered > 0 || received == done + 1;

        /* The dead one's other direction still takes records, and the same pair with a reader that is killed. */
        memset(memory, 0, size + BL_PAGE);
        open_pair(&p, memory);
        const pid_t reader = child_that_reads(&p, shared);
        uint64_t n = 0;
        uint32_t offset = 0;
        int outcome = 0;
        while (n < until || outcome < 0) {
            outcome = write_message(&p.writer, n, &offset);
            if (outcome >= 0) n++, offset = 0;
            else let_the_other_run(outcome);
        }
        kill_and_reap(reader);
        CHECK(atomic_load(&shared->done) <= n);
        while ((outcome = write_message(&p.writer, n, &offset)) >= 0) n++, offset = 0;
        CHECK(outcome == -BL_EAGAIN && !p.writer.broken);
    }
    CHECK(total > rounds && in_a_write > 0);
    printf("%llu killed while writing, %llu of them inside of a message; %llu killed while reading; %llu messages\n",
           (unsigned long long)rounds, (unsigned long long)in_a_write, (unsigned long long)rounds, (unsigned long long)total);
}
