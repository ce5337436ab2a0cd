%% @private The topics of a member, which can be changed while it runs.
-module(crema_subscription).

-include("../port/crema_commands.hrl").

-export([new/1, topics/1, begin_with/2, change/4, answered/3]).

-export_type([subscription/0, change/0]).

%% `replace': by these topics; `add' and `remove': these.
-type change() :: replace | add | remove.

-record(subscription, {
    %% as asked for last
    topics :: [binary()],
    %% as the driver has them
    confirmed = [] :: [binary()],
    %% beside them, and at the earliest in any case: what the group has sent there
    %% itself is not to be missed
    retry_topics :: [binary()],
    start :: term(),
    out_of_range :: atom(),
    %% who sends on to where: what must not be consumed as well
    options :: map(),
    %% what was asked of the driver: by whom, and which topics
    asked = #{} :: #{crema_port:tag() => {gen_server:from(), [binary()]}},
    %% with the newer group protocol brokers match topics and say of none that it
    %% is not there: then each is asked for
    looks :: boolean(),
    looked_for = #{} :: #{crema_port:tag() => binary()}
}).
-opaque subscription() :: #subscription{}.

-define(LOOK_MS, 10000).

%% @doc Of parsed options.
-spec new(map()) -> subscription().
new(#{topics := Topics, retry_topics := Retries, kafka := Kafka} = Options) ->
    #{start := Start, out_of_range := OutOfRange} = Options,
    #subscription{
        looks = maps:get(<<"group.protocol">>, Kafka, <<"classic">>) =/= <<"classic">>,
        topics = Topics,
        confirmed = Topics,
        options = maps:with([retry_topics, dead_letter], Options),
        retry_topics = [Topic || {Topic, _} <- Retries],
        start = Start,
        out_of_range = OutOfRange
    }.

-spec topics(subscription()) -> [binary()].
topics(#subscription{topics = Topics}) ->
    Topics.

-spec begin_with(port(), subscription()) -> {ok, subscription()} | crema_error:error().
begin_with(Port, Subscription) ->
    Command = fun(Tag) -> {?CMD_SUBSCRIBE, packed(Tag, Subscription)} end,
    case crema_port:ask(Port, Command, infinity, none) of
        ok -> {ok, look(Port, Subscription)};
        {error, _} = Error -> Error
    end.

-spec look(port(), subscription()) -> subscription().
look(_Port, #subscription{looks = false} = Subscription) ->
    Subscription;
look(Port, #subscription{topics = Topics, looked_for = Before} = Subscription) ->
    Ask = fun(Topic) ->
        crema_port:ask_async(Port, ?CMD_METADATA, fun(Tag) ->
            term_to_binary({Tag, Topic, 0, ?LOOK_MS})
        end)
    end,
    Asked = [{Ref, T} || T <- Topics, binary:first(T) =/= $^, {ok, Ref} <- [Ask(T)]],
    Subscription#subscription{looked_for = maps:merge(Before, maps:from_list(Asked))}.

-spec packed(binary(), subscription()) -> binary().
packed(Tag, #subscription{topics = Topics, retry_topics = Early} = Subscription) ->
    #subscription{start = Start, out_of_range = OutOfRange} = Subscription,
    term_to_binary({Tag, Topics ++ Early, Start, OutOfRange, Early}).

%% @doc Asks the driver, which answers later: the member must not wait for what
%% may stand behind an assignment.
-spec change({change(), [binary()]}, gen_server:from(), port(), subscription()) ->
    {wait, subscription()} | {reply, crema_error:error(), subscription()}.
change({Change, Given}, From, Port, #subscription{topics = Before} = Subscription) ->
    Topics = changed(Change, Given, Before),
    case crema_failure_options:conflicts(Topics, Subscription#subscription.options) of
        [] -> ask(Topics, From, Port, Subscription);
        [Why | _] -> {reply, crema_error:make(bad_call, ["topics ", Why], #{}), Subscription}
    end.

-spec ask([binary()], gen_server:from(), port(), subscription()) ->
    {wait, subscription()} | {reply, crema_error:error(), subscription()}.
ask(Topics, From, Port, #subscription{asked = Asked} = Subscription) ->
    New = Subscription#subscription{topics = Topics},
    case crema_port:ask_async(Port, ?CMD_SUBSCRIBE, fun(Tag) -> packed(Tag, New) end) of
        {ok, Ref} -> {wait, New#subscription{asked = Asked#{Ref => {From, Topics}}}};
        {error, _} = Error -> {reply, Error, Subscription}
    end.

%% What was asked for behind it still may be had.
-spec refused(subscription()) -> subscription().
refused(#subscription{asked = Asked, confirmed = Confirmed} = Subscription) when
    map_size(Asked) =:= 0
->
    Subscription#subscription{topics = Confirmed};
refused(Subscription) ->
    Subscription.

-spec changed(change(), [binary()], [binary()]) -> [binary()].
changed(replace, Given, _Before) -> Given;
changed(add, Given, Before) -> lists:uniq(Before ++ Given);
changed(remove, Given, Before) -> Before -- Given.

%% @doc Takes the driver's answers from the member's mailbox. A topic that is not
%% there is told of.
-spec answered(term(), port(), subscription()) ->
    {ok, subscription()} | {missing, Topic :: binary(), subscription()} | unknown.
answered({Ref, Bytes}, Port, #subscription{asked = Asked} = Subscription) when is_map_key(Ref, Asked) ->
    {{From, Topics}, Rest} = maps:take(Ref, Asked),
    Left = Subscription#subscription{asked = Rest},
    case crema_port:answer(Bytes) of
        ok ->
            gen_server:reply(From, ok),
            {ok, look(Port, Left#subscription{confirmed = Topics})};
        {error, _} = Error ->
            gen_server:reply(From, Error),
            {ok, refused(Left)}
    end;
answered({Ref, Bytes}, _, #subscription{looked_for = Asked} = Subscription) when
    is_map_key(Ref, Asked)
->
    {Topic, Rest} = maps:take(Ref, Asked),
    Left = Subscription#subscription{looked_for = Rest},
    case crema_port:answer(Bytes) of
        {ok, {_, [{Topic, Code}]}} when Code < 0 -> {missing, Topic, Left};
        _ -> {ok, Left}
    end;
answered(_, _Port, _Subscription) ->
    unknown.
