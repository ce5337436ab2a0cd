%% Streams the text into the topic, a message per line, its number as the key.
%%
%% Lines go in chunks, one asynchronous call each; so many calls may wait for their reports. Before
%% each the counter is asked for room, so that the producer stays a bounded way ahead of the group:
%% an embedded cluster forgets what is more than 5 MiB behind.
-module(demo_source).

-export([start_link/1, init/1]).

-define(CHUNK_LINES, 500).
-define(CHUNK_BYTES, 65536).
-define(CALLS, 8).

-record(source, {
    topic :: binary(),
    line = 0 :: non_neg_integer(),
    %% The messages of the next call, the newest first, and their size.
    chunk = [] :: [map()],
    bytes = 0 :: non_neg_integer(),
    calls = queue:new() :: queue:queue(term())
}).

-spec start_link(demo_sup:config()) -> {ok, pid()}.
start_link(Config) ->
    {ok, proc_lib:spawn_link(?MODULE, init, [Config])}.

-spec init(demo_sup:config()) -> ok.
init(#{text := Text, topic := Topic}) ->
    Source = demo_text:fold(fun add/2, #source{topic = Topic}, Text),
    await_all(send(Source)).

add(Text, #source{line = Before, chunk = Chunk, bytes = Bytes} = Source0) ->
    Line = Before + 1,
    Message = #{topic => Source0#source.topic, key => integer_to_binary(Line), value => Text},
    Source = Source0#source{
        line = Line,
        chunk = [Message | Chunk],
        bytes = Bytes + byte_size(Text)
    },
    case length(Source#source.chunk) =:= ?CHUNK_LINES orelse Source#source.bytes >= ?CHUNK_BYTES of
        true -> send(Source);
        false -> Source
    end.

send(#source{chunk = []} = Source) ->
    Source;
send(#source{chunk = Chunk, bytes = Bytes, calls = Calls} = Source) ->
    ok = demo_counter:reserve(length(Chunk), Bytes),
    case crema:produce_many_async(demo_producer, lists:reverse(Chunk)) of
        {ok, Call} ->
            Sent = Source#source{chunk = [], bytes = 0, calls = queue:in(Call, Calls)},
            await_oldest(Sent);
        {error, Reason} ->
            failed("not produced", Reason)
    end.

await_oldest(#source{calls = Calls} = Source) ->
    case queue:len(Calls) > ?CALLS of
        true ->
            {{value, Oldest}, Rest} = queue:out(Calls),
            await(Oldest),
            Source#source{calls = Rest};
        false ->
            Source
    end.

await_all(#source{calls = Calls}) ->
    lists:foreach(fun await/1, queue:to_list(Calls)).

await(Call) ->
    {ok, Reports} = crema:await(Call),
    case [Reason || {error, Reason} <- Reports] of
        [] -> ok;
        [First | _] -> failed("not delivered", First)
    end.

%% The story tells it, so it needs no crash report.
-spec failed(string(), {atom(), map()}) -> no_return().
failed(What, Reason) ->
    exit({shutdown, {What, Reason}}).
