%% @doc Reading without a group: from where you say to where you say, with nothing
%% committed and nobody else concerned. {@link crema:fold/3} and Elixir's
%% `Crema.stream/1' are built on this; it is for those who want the messages one
%% batch after another.
%%
%% ```
%% {ok, Reader} = crema_reader:open(#{bootstrap_servers => "localhost:9092", topic => orders}),
%% {ok, Messages, Reader1} = crema_reader:next(Reader),
%% ok = crema_reader:close(Reader1).
%% '''
%% A reader is a value: each call of {@link next/1} returns the one to go on with,
%% which knows where that is ({@link positions/1}). Below it are a process and a
%% client, which end with {@link close/1}, or with the process that has opened it.
-module(crema_reader).

-export([open/1, next/1, next/2, positions/1, close/1, fold/3]).

-export_type([reader/0, message/0, positions/0, folder/1, folded/1]).

-record(reader, {
    pid :: pid(),
    form :: crema_record_batch:form(),
    timeout :: timeout(),
    positions :: positions(),
    %% where those with an end are when all is read
    ends :: positions()
}).

-opaque reader() :: #reader{}.

-type message() :: #{
    topic := binary(),
    partition := non_neg_integer(),
    offset := non_neg_integer(),
    key := binary() | undefined | nil,
    value := binary() | undefined | nil,
    headers := [{binary(), binary() | undefined | nil}],
    timestamp := integer(),
    timestamp_type := create | append | undefined,
    %% with the option message => struct
    token => nil,
    '__struct__' => 'Elixir.Crema.Message'
}.
-type positions() :: #{{Topic :: binary(), Partition :: non_neg_integer()} => non_neg_integer()}.
%% The next offset to read of each partition. As the option `from' of another
%% reader they go on from there.

-type folded(Acc) :: {ok, Acc, positions()} | crema_error:error().
-type folder(Acc) :: fun((message(), Acc) -> {ok, Acc} | {stop, Acc}).

%% @doc Opens a reader, by the options of {@link crema_options}, scope `reader'.
%% Waits, up to `timeout', until it is known where each partition begins and ends.
%%
%% Errors, beside `bad_options': `unknown_topic_or_part', `unknown_partition',
%% `offset_out_of_range' (with `offset', `low' and `high'), `authentication' and
%% other refusals of brokers, and `timed_out' when none has answered.
-spec open(Options :: map() | list()) -> {ok, reader()} | crema_error:error().
open(Given) ->
    case crema_settings:parse(reader, Given) of
        {ok, #{timeout := Timeout} = Options} ->
            case crema_reader_server:open(crema_prefix:names(Options)) of
                {ok, Pid, Bounds} ->
                    {ok, #reader{
                        pid = Pid,
                        form = crema_record_batch:form(Options),
                        timeout = Timeout,
                        positions = maps:from_list([{Place, From} || {Place, From, _} <- Bounds]),
                        ends = maps:from_list([
                            {Place, max(From, To)}
                         || {Place, From, To} <- Bounds, is_integer(To)
                        ])
                    }};
                {error, _} = Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc The next messages, of one partition, in order. `done' when every
%% partition has been read to its end. Waits as long as `timeout' says, or, with
%% `to => infinity', for as long as nothing comes.
-spec next(reader()) ->
    {ok, [message(), ...], reader()} | {done, reader()} | crema_error:error().
next(#reader{timeout = Timeout, ends = Ends, positions = Positions} = Reader) ->
    case map_size(Ends) =:= map_size(Positions) of
        true -> next(Reader, Timeout);
        false -> next(Reader, infinity)
    end.

%% @doc The same, waiting for at most so many milliseconds. After `timeout' the
%% reader is as good as before; after any other error it is only to be closed.
-spec next(reader(), timeout()) ->
    {ok, [message(), ...], reader()} | {done, reader()} | crema_error:error().
next(#reader{pid = Pid, form = Form, positions = Positions} = Reader, Timeout) ->
    crema_call:is_timeout(Timeout) orelse erlang:error(badarg),
    case crema_reader_server:next(Pid, Timeout) of
        {batch, {Topic, Partition} = Place, Packed} ->
            Messages = crema_record_batch:messages(Packed, <<>>, none, {Topic, Partition, Form}),
            #{offset := Last} = lists:last(Messages),
            {ok, Messages, Reader#reader{positions = Positions#{Place := Last + 1}}};
        done ->
            {done, Reader#reader{positions = maps:merge(Positions, Reader#reader.ends)}};
        {error, _} = Error ->
            Error
    end.

%% @doc Where to go on, when all that this reader has returned is dealt with.
-spec positions(reader()) -> positions().
positions(#reader{positions = Positions}) ->
    Positions.

%% @doc Closes a reader. One that is closed already is fine.
-spec close(reader()) -> ok.
close(#reader{pid = Pid}) ->
    crema_reader_server:close(Pid).

%% @doc Calls the function with each message and what it returned before.
%%
%% What is returned beside the result is where the read ended: the next offset of
%% each partition, which as the option `from' goes on from there. After `{stop,
%% Acc}' that is behind the message that the function was called with.
%%
%% Errors are those of {@link open/1}, and what goes wrong later: `timeout' when no
%% message has come for that long, or what brokers say of a partition. These have
%% `acc' and `positions' in their details, with which one can go on. The function
%% runs in the calling process; its exceptions are raised again, when the read has
%% been ended.
-spec fold(Options :: map() | list(), folder(Acc), Acc) -> folded(Acc).
fold(Options, Fun, Acc) when is_function(Fun, 2) ->
    case open(Options) of
        {ok, Reader} ->
            try
                fold_reader(Reader, Fun, Acc)
            after
                close(Reader)
            end;
        {error, _} = Error ->
            Error
    end;
fold(Options, Fun, Acc) ->
    Text = <<"no function of a message and of what it returned before">>,
    %% Somebody may have given them in another order.
    Hidden = [crema_secret:hide(Given) || Given <- [Options, Fun, Acc]],
    erlang:error(badarg, Hidden, crema_error:badarg(#{2 => Text})).

-spec fold_reader(reader(), folder(Acc), Acc) -> folded(Acc).
fold_reader(Reader, Fun, Acc) ->
    case next(Reader) of
        {ok, Messages, Next} ->
            case fold_messages(Messages, Fun, Acc) of
                {ok, New} ->
                    fold_reader(Next, Fun, New);
                {stop, #{topic := Topic, partition := Partition, offset := Offset}, New} ->
                    {ok, New, (positions(Next))#{{Topic, Partition} := Offset + 1}}
            end;
        {done, Done} ->
            {ok, Acc, positions(Done)};
        {error, {Code, Details}} ->
            {error, {Code, Details#{acc => Acc, positions => positions(Reader)}}}
    end.

-spec fold_messages([message()], folder(Acc), Acc) ->
    {ok, Acc} | {stop, message(), Acc}.
fold_messages([Message | Rest], Fun, Acc) ->
    case Fun(Message, Acc) of
        {ok, New} -> fold_messages(Rest, Fun, New);
        {stop, New} -> {stop, Message, New};
        Other -> erlang:error({bad_return, Other})
    end;
fold_messages([], _Fun, Acc) ->
    {ok, Acc}.
