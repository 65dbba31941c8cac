"""A server that counts: it answers a call with a number by the sum so far, and tells whom it was handed each time it passes a hundred."""

total = 0
watchers = []


def init(start, *pids):
    global total
    total = start
    watchers.extend(pids)


def handle_call(request, caller):
    global total
    before, total = total, total + request
    if before // 100 != total // 100:
        for pid in watchers:
            send(pid, ("passed", total // 100 * 100))
    return total
