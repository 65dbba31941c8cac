%% The cases in Erlang: the side that the others are measured against.
%% erl -noshell -pa DIR -run erlang_processes main CASE SIZE RUNS SECONDS
-module(erlang_processes).
-behaviour(gen_server).
-export([main/1, init/1, handle_call/3, handle_cast/2, sample/3, calls/2]).

main(["about"]) ->
    io:format("{\"about\": \"Erlang/OTP ~s (ERTS ~s, ~s)\"}~n",
              [erlang:system_info(otp_release), erlang:system_info(version), erlang:system_info(emu_flavor)]),
    halt(0);
main([Case, Size, Runs, Seconds]) ->
    %% In a new process with the default heap: that of the boot process has already grown.
    {Pid, Ref} = spawn_monitor(fun() ->
        run(list_to_atom(Case), list_to_integer(Size), {Case, list_to_integer(Runs), list_to_float(Seconds)})
    end),
    receive
        {'DOWN', Ref, process, Pid, normal} -> halt(0);
        {'DOWN', Ref, process, Pid, Reason} -> io:format(standard_error, "~p~n", [Reason]), halt(1)
    end.

run(ping_pong, _, Bench) ->
    Pong = spawn(fun pong/0),
    sample(Bench, 2, fun(N) -> ping(Pong, N) end);

run(call, _, Bench) ->
    {ok, Server} = gen_server:start_link(?MODULE, [], []),
    sample(Bench, 1, fun(N) -> calls(Server, N) end);

run(queued_call, Size, Bench) ->
    {ok, Server} = gen_server:start_link(?MODULE, [], []),
    [self() ! {noise, I} || I <- lists:seq(1, Size)],
    sample(Bench, 1, fun(N) -> calls(Server, N) end);

run(spawn_exit, Size, Bench) ->
    sample(Bench, Size, fun(N) -> batches(Size, N) end);

run(fan_in, Size, Bench) ->
    sample(Bench, 100 * Size, fun(N) -> crowds(Size, N) end);

run(chain, Size, Bench) ->
    First = chain(Size, self()),
    sample(Bench, Size + 1, fun(N) -> passes(First, N) end);

run(idle, Size, _Bench) ->
    Rss = resident_bytes(),
    Memory = erlang:memory(processes),
    Start = now_s(),
    spawn_many(Size - 1, fun() -> receive stop -> ok end end),
    Self = self(),
    spawn(fun() -> Self ! ready, receive stop -> ok end end),
    receive ready -> ok end,
    Lasted = now_s() - Start,
    Total = resident_bytes(),
    emit("idle", "bytes", [(Total - Rss) / Size]),
    emit("idle_accounted", "bytes", [(erlang:memory(processes) - Memory) / Size]),
    emit("idle_rss", "bytes", [float(Total)]),
    emit("idle_spawn", "seconds", [Lasted]);

run(gap, Seconds, _Bench) ->
    Burners = [spawn(fun() -> burn(0) end) || _ <- [1, 2]],
    Start = now_s(),
    Worst = turns(Start + Seconds, Start, 0.0),
    [exit(Pid, kill) || Pid <- Burners],
    emit("gap", "seconds", [Worst]).

ping(_, 0) -> ok;
ping(Pong, N) ->
    Pong ! {self(), N},
    receive {_, _} -> ping(Pong, N - 1) end.

pong() ->
    receive {Sender, X} -> Sender ! {self(), X}, pong() end.

calls(_, 0) -> ok;
calls(Server, N) -> gen_server:call(Server, N), calls(Server, N - 1).

init([]) -> {ok, none}.
handle_call(Request, _From, State) -> {reply, Request, State}.
handle_cast(_, State) -> {noreply, State}.

%% The run queue is first in, first out: when the last one spawned has run, all have.
batches(_, 0) -> ok;
batches(Size, N) ->
    spawn_many(Size - 1, fun() -> ok end),
    Self = self(),
    spawn(fun() -> Self ! done end),
    receive done -> batches(Size, N - 1) end.

spawn_many(0, _) -> ok;
spawn_many(N, Fun) -> spawn(Fun), spawn_many(N - 1, Fun).

crowds(_, 0) -> ok;
crowds(Size, N) ->
    Self = self(),
    Sink = spawn(fun() -> sink(100 * Size), Self ! done end),
    spawn_many(100, fun() -> flood(Sink, Size) end),
    receive done -> crowds(Size, N - 1) end.

sink(0) -> ok;
sink(N) -> receive {_, _} -> sink(N - 1) end.

flood(_, 0) -> ok;
flood(Sink, N) -> Sink ! {self(), N}, flood(Sink, N - 1).

chain(0, Next) -> Next;
chain(N, Next) -> chain(N - 1, spawn(fun() -> forward(Next) end)).

forward(Next) -> receive Message -> Next ! Message, forward(Next) end.

passes(_, 0) -> ok;
passes(First, N) ->
    First ! {self(), N},
    receive {_, _} -> passes(First, N - 1) end.

burn(N) -> burn((N * 3 + 1) rem 1000003).

turns(End, Last, Worst) ->
    erlang:yield(),
    case now_s() of
        Now when Now > End -> max(Worst, Now - Last);
        Now -> turns(End, Now, max(Worst, Now - Last))
    end.

%% As bench.py: the count doubles until one run lasts Seconds (the warm-up, also of the JIT); then Runs runs.
sample({Case, Runs, Seconds}, Operations, Fun) ->
    Count = calibrate(Seconds, 1, Fun),
    emit(Case, "seconds", [timed(Fun, Count) / Count / Operations || _ <- lists:seq(1, Runs)]).

calibrate(Seconds, Count, Fun) ->
    case timed(Fun, Count) of
        Lasted when Lasted >= Seconds -> Count;
        _ -> calibrate(Seconds, Count * 2, Fun)
    end.

timed(Fun, Count) ->
    Start = now_s(),
    Fun(Count),
    now_s() - Start.

now_s() -> erlang:monotonic_time(nanosecond) / 1.0e9.

resident_bytes() ->
    {ok, Status} = file:read_file("/proc/self/status"),
    {match, [Kilobytes]} = re:run(Status, "VmRSS:\\s+(\\d+) kB", [{capture, [1], binary}]),
    binary_to_integer(Kilobytes) * 1024.

emit(Case, Unit, Runs) ->
    Numbers = lists:join(", ", [io_lib:format("~.9e", [Run]) || Run <- Runs]),
    io:format("{\"case\": \"~s\", \"unit\": \"~s\", \"runs\": [~s]}~n", [Case, Unit, Numbers]).
