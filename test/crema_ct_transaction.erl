%% What the suites of transactions share.
-module(crema_ct_transaction).

-export([producer/1, producer/2, holder/2, let_end/1, ended/1, one_message/2]).
-export([asks/1, listen/2, heard/2]).

%% @doc A producer with a transactional.id of its own.
producer(Config) ->
    producer(Config, #{}).

producer(Config, Options) ->
    Kafka = maps:get(kafka, Options, #{}),
    Id = #{'transactional.id' => crema_ct:unique(<<"id">>)},
    crema_ct:producer(Config, Options#{kafka => maps:merge(Id, Kafka)}).

%% @doc A process in a transaction, which has produced a message, and its handle.
holder(P, Topic) ->
    Self = self(),
    Pid = spawn(fun() ->
        Result = crema:transaction(P, fun(Tx) ->
            {ok, _} = crema:produce(Tx, #{topic => Topic}),
            Self ! {self(), Tx},
            receive
                go_on -> ok
            end
        end),
        Self ! {self(), ended, Result}
    end),
    receive
        {Pid, Tx} -> {Pid, Tx}
    after 10000 -> error(not_begun)
    end.

%% @doc A process that waits for what a function returns.
asks(Fun) ->
    Self = self(),
    Pid = spawn_link(fun() -> Self ! {self(), ended, Fun()} end),
    crema_ct:await(fun() -> process_info(Pid, status) =:= {status, waiting} end),
    Pid.

%% @doc Its function ends; what the transaction returned.
let_end(Pid) ->
    Pid ! go_on,
    ended(Pid).

ended(Pid) ->
    receive
        {Pid, ended, Result} -> Result
    after 15000 -> error(not_ended)
    end.

%% @doc A transaction of a message.
one_message(P, Topic) ->
    crema:transaction(P, fun(Tx) -> crema:produce(Tx, #{topic => Topic}) end).

%% @doc Listens to an event of the transactions of a producer.
listen(P, Name) ->
    Self = self(),
    Event = [crema, transaction, Name],
    Ref = make_ref(),
    Tell = fun(_, Measured, #{client := Client} = Metadata, _) ->
        Client =:= P andalso (Self ! {Ref, Measured, Metadata})
    end,
    ok = crema_events:attach({?MODULE, Ref}, Event, Tell, none),
    Ref.

%% @doc The next one's metadata.
heard(Ref, Name) ->
    {Measured, Metadata} = crema_ct_consume:heard(Ref),
    crema_ct_consume:event_is_as_told([crema, transaction, Name], Measured, Metadata),
    Metadata.
