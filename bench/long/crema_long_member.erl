%% A member of a group in an operating system process of its own, to be killed.
%% Each handler writes down what it does before it answers, in a file that a
%% kill leaves whole: see crema_ct_consumed for what is read from it.
-module(crema_long_member).

-export([main/0, notes/1, troubled/1]).
-export([start_acknowledger/2]).

%% Of ten thousand messages so many crash their handler, fail, and are
%% acknowledged by another process, later and out of order.
-define(CRASH, 2).
-define(FAIL, 10).
-define(LATER, 1500).
%% So many wait to be acknowledged out of order, for at most so long.
-define(PILE, 20).
-define(PATIENCE, 50).

%% @doc Arguments: folder, group, start, milliseconds between commits, topics.
main() ->
    [Folder, Group, Start, Interval | Topics] = init:get_plain_arguments(),
    ok = logger:set_primary_config(level, none),
    {ok, _} = application:ensure_all_started(crema),
    tell_trouble(Folder),
    {ok, Consumer} = crema_consumer:start_link(#{
        bootstrap_servers => os:getenv("KAFKA_BOOTSTRAP"),
        group => Group,
        topics => Topics,
        start => list_to_atom(Start),
        handler => {crema_ct_handler, #{init => handler(Folder), handle => fun handle/2}},
        backoff => {1, 50},
        kafka => #{
            'session.timeout.ms' => 6000,
            'heartbeat.interval.ms' => 500,
            'auto.commit.interval.ms' => list_to_integer(Interval),
            'topic.metadata.refresh.interval.ms' => 2000
        }
    }),
    %% Who has started this process tells it to end, by a line or by ending.
    _ = io:get_line(""),
    ok = crema_consumer:stop(Consumer),
    halt(0).

tell_trouble(Folder) ->
    Name = filename:join(Folder, "trouble-" ++ os:getpid()),
    [
        ok = crema_events:attach(
            Event,
            Event,
            fun(Which, Measured, Metadata, _) ->
                Told = {os:system_time(microsecond), Which, Measured, Metadata},
                file:write_file(Name, io_lib:format("~0p.~n", [Told]), [append])
            end,
            none
        )
     || Event <- [[crema, consumer, commit_failed], [crema, consumer, lost]]
    ].

handler(Folder) ->
    fun(#{topic := Topic, partition := Partition}, Args) ->
        Note = writer(Folder, Topic, Partition),
        Acknowledger = spawn(?MODULE, start_acknowledger, [self(), {Folder, Topic, Partition}]),
        {ok, Args#{note => Note, acknowledger => Acknowledger}}
    end.

handle(#{offset := Offset, token := Token}, #{note := Note} = State) ->
    {crema_token, _, Slot, _} = Token,
    Note($h, Slot, Offset),
    case rand:uniform(10000) of
        N when N =< ?CRASH ->
            Note($c, Slot, Offset),
            exit(planned);
        N when N =< ?FAIL ->
            Note($f, Slot, Offset),
            {error, planned, State};
        N when N =< ?LATER ->
            maps:get(acknowledger, State) ! {later, Slot, Offset, Token},
            {noack, State};
        _ ->
            Note($a, Slot, Offset),
            {ack, State}
    end.

%% @private It ends with its handler: what it has not acknowledged comes again.
start_acknowledger(Handler, {Folder, Topic, Partition}) ->
    _ = erlang:monitor(process, Handler),
    acknowledge(writer(Folder, Topic, Partition), []).

acknowledge(Note, Pile) ->
    receive
        {later, Slot, Offset, Token} when length(Pile) < ?PILE ->
            acknowledge(Note, [{rand:uniform(), Slot, Offset, Token} | Pile]);
        {'DOWN', _, _, _, _} ->
            ok
    after case length(Pile) of ?PILE -> 0; 0 -> infinity; _ -> ?PATIENCE end ->
        [
            begin
                Note($a, Slot, Offset),
                case crema:ack(Token) of
                    ok -> ok;
                    {error, {stale_assignment, _}} -> Note($r, Slot, Offset)
                end
            end
         || {_, Slot, Offset, Token} <- lists:sort(Pile)
        ],
        acknowledge(Note, [])
    end.

%% ---- notes ----------------------------------------------------------------------

writer(Folder, Topic, Partition) ->
    Number = erlang:unique_integer([positive]),
    Name = io_lib:format("notes ~ts ~b ~s ~b", [Topic, Partition, os:getpid(), Number]),
    {ok, File} = file:open(filename:join(Folder, Name), [write, raw, binary]),
    fun(Kind, Slot, Offset) ->
        ok = file:write(File, <<Kind, Slot:64, Offset:64, (os:system_time(microsecond)):64>>)
    end.

%% @doc All that the members of a folder have written, by place and process.
notes(Folder) ->
    Files = filelib:wildcard(filename:join(Folder, "notes *")),
    lists:foldl(
        fun(File, All) ->
            ["notes", Topic, Partition, Pid, _] = string:lexemes(filename:basename(File), " "),
            Key = {{list_to_binary(Topic), list_to_integer(Partition)}, Pid},
            {ok, Bytes} = file:read_file(File),
            maps:update_with(Key, fun(Before) -> read(Bytes) ++ Before end, read(Bytes), All)
        end,
        #{},
        Files
    ).

read(Bytes) ->
    [
        {Time, kind(Kind), Slot, Offset}
     || <<Kind, Slot:64, Offset:64, Time:64>> <= Bytes
    ].

kind($h) -> handled;
kind($a) -> acked;
kind($r) -> refused;
kind($f) -> failed;
kind($c) -> crashed.

%% @doc The members that were told of a commit that failed, or of lost partitions.
troubled(Folder) ->
    [
        string:trim(filename:basename(File), leading, "trouble-")
     || File <- filelib:wildcard(filename:join(Folder, "trouble-*"))
    ].
