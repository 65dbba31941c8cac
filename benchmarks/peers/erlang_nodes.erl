%% The cases between two nodes in Erlang, by its distribution over loopback.
%% erl -noshell -sname A@localhost -pa DIR -run erlang_nodes main CASE SIZE RUNS SECONDS
%% PEER_FLAGS in the environment: of the other node's emulator; those of this one are on its own command line.
-module(erlang_nodes).
-export([main/1, pong/0, sink/2]).

main([Case, _Size, Runs, Seconds]) ->
    {Pid, Ref} = spawn_monitor(fun() ->
        Path = filename:dirname(code:which(?MODULE)),
        {ok, Peer, Node} = peer:start_link(#{name => "b" ++ os:getpid(), host => "localhost",
                                             args => ["-pa", Path | string:lexemes(os:getenv("PEER_FLAGS", ""), " ")]}),
        run(list_to_atom(Case), Node, {Case, list_to_integer(Runs), list_to_float(Seconds)}),
        peer:stop(Peer)
    end),
    receive
        {'DOWN', Ref, process, Pid, normal} -> halt(0);
        {'DOWN', Ref, process, Pid, Reason} -> io:format(standard_error, "~p~n", [Reason]), halt(1)
    end.

run(hop, Node, Bench) ->
    Pong = spawn(Node, ?MODULE, pong, []),
    erlang_processes:sample(Bench, 2, fun(N) -> ping(Pong, N, binary:copy(<<"x">>, 64)) end);

run(one_way, Node, Bench) ->
    erlang_processes:sample(Bench, 1, fun(N) -> flood(Node, N, binary:copy(<<"x">>, 64)) end);

run(one_way_large, Node, Bench) ->
    erlang_processes:sample(Bench, 1, fun(N) -> flood(Node, N, binary:copy(<<"x">>, 1024 * 1024)) end);

run(call, Node, Bench) ->
    {ok, Server} = rpc:call(Node, gen_server, start, [erlang_processes, [], []]),
    erlang_processes:sample(Bench, 1, fun(N) -> erlang_processes:calls(Server, N) end).

ping(_, 0, _) -> ok;
ping(Pong, N, Bytes) ->
    Pong ! {self(), Bytes},
    receive _ -> ping(Pong, N - 1, Bytes) end.

pong() ->
    receive {Sender, X} -> Sender ! X, pong() end.

flood(Node, N, Bytes) ->
    Sink = spawn(Node, ?MODULE, sink, [N, self()]),
    sends(Sink, N, Bytes),
    receive done -> ok end.

sends(_, 0, _) -> ok;
sends(Sink, N, Bytes) -> Sink ! Bytes, sends(Sink, N - 1, Bytes).

sink(0, To) -> To ! done;
sink(N, To) -> receive _ -> sink(N - 1, To) end.
