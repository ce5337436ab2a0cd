%% Compares what producers were told of their messages with what the log holds: one
%% strict producer, one topic. See crema_chaos_produced for what must hold.
-module(crema_ct_accounts).

-export([faults/2, count/1]).

-define(TOPIC, <<"topic">>).

-type message() :: crema_chaos_history:message().

%% What a process was told of its message; `refused' when the call was not accepted.
-type outcome() :: crema_chaos_history:outcome() | refused.

-type log() :: [{Partition :: non_neg_integer(), [{Offset :: integer(), message()}]}].

%% @doc What does not fit.
-spec faults(#{message() => outcome()}, log()) -> [crema_chaos_checker:violation()].
faults(Outcomes, Log) ->
    Call = {?TOPIC, producer, none, 0},
    crema_chaos_produced:violations((crema_chaos_story:new())#{
        topics := #{?TOPIC => #{role => produced, partitions => length(Log)}},
        clients := #{producer => #{ordering => strict}},
        messages := maps:map(
            fun
                (_, refused) -> {Call, refused, []};
                (_, Outcome) -> {Call, none, [{0, Outcome}]}
            end,
            Outcomes
        ),
        logs := maps:from_list([
            {{{?TOPIC, Partition}, uncommitted}, [Entries]}
         || {Partition, Entries} <- Log
        ])
    }).

%% @doc How many messages had each kind of outcome.
-spec count(#{message() => outcome()}) -> #{atom() => pos_integer()}.
count(Outcomes) ->
    maps:fold(
        fun(_, Outcome, Counts) ->
            Kind =
                case Outcome of
                    {delivered, _, _} -> delivered;
                    {failed, Status, _} -> Status;
                    refused -> refused
                end,
            maps:update_with(Kind, fun(N) -> N + 1 end, 1, Counts)
        end,
        #{},
        Outcomes
    ).
