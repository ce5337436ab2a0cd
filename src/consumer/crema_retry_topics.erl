%% @private Retry topics: where a message waits before it is handled again. Pure.
%%
%% A message goes to the first of them, and from each to the next; behind the
%% last is the dead-letter topic. It carries the time at which it is due: until
%% then it holds back its partition of the retry topic, and nothing else.
-module(crema_retry_topics).

-export([from/2, next/3, wait/4]).

-export_type([topics/0]).

-type topics() :: [{Topic :: binary(), Delay :: non_neg_integer()}].

%% @doc Whether a topic is one of them.
-spec from(Topic :: binary(), topics()) -> source | retry_topic.
from(Topic, Topics) ->
    case lists:keymember(Topic, 1, Topics) of
        true -> retry_topic;
        false -> source
    end.

%% @doc Where a message of that topic goes, and when it is due there.
-spec next(Topic :: binary(), Now :: integer(), topics()) ->
    {retry_topic, binary(), Due :: integer()} | dead_letter.
next(Topic, Now, Topics) ->
    Left =
        case lists:dropwhile(fun({Name, _}) -> Name =/= Topic end, Topics) of
            [_ | Behind] -> Behind;
            [] -> Topics
        end,
    case Left of
        [{Next, Delay} | _] -> {retry_topic, Next, Now + Delay};
        [] -> dead_letter
    end.

%% @doc How long a message of that topic waits: never longer than the topic says,
%% whatever the clock was of who sent it.
-spec wait(Topic :: binary(), Due :: integer() | none, Now :: integer(), topics()) ->
    non_neg_integer().
wait(_Topic, none, _Now, _Topics) ->
    0;
wait(Topic, Due, Now, Topics) ->
    case lists:keyfind(Topic, 1, Topics) of
        {_, Delay} -> max(0, min(Due - Now, Delay));
        false -> 0
    end.
