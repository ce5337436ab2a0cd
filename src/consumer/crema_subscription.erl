%% @private The topics of a member, which can be changed while it runs.
-module(crema_subscription).

-include("../port/crema_commands.hrl").

-export([new/1, topics/1, begin_with/2, change/4, answered/2]).

-export_type([subscription/0, change/0]).

%% `replace': by these topics; `add' and `remove': these.
-type change() :: replace | add | remove.

-record(subscription, {
    topics :: [binary()],
    %% beside them, and at the earliest in any case: what the group has sent there
    %% itself is not to be missed
    retry_topics :: [binary()],
    start :: term(),
    out_of_range :: atom(),
    %% what was asked of the driver: by whom, and what was before
    asked = #{} :: #{crema_port:tag() => {gen_server:from(), [binary()]}}
}).
-opaque subscription() :: #subscription{}.

%% @doc Of parsed options.
-spec new(map()) -> subscription().
new(#{topics := Topics, retry_topics := Retries, start := Start, out_of_range := OutOfRange}) ->
    #subscription{
        topics = Topics,
        retry_topics = [Topic || {Topic, _} <- Retries],
        start = Start,
        out_of_range = OutOfRange
    }.

-spec topics(subscription()) -> [binary()].
topics(#subscription{topics = Topics}) ->
    Topics.

-spec begin_with(port(), subscription()) -> ok | {ok, term()} | crema_error:error().
begin_with(Port, Subscription) ->
    Command = fun(Tag) -> {?CMD_SUBSCRIBE, packed(Tag, Subscription)} end,
    crema_port:ask(Port, Command, infinity, none).

-spec packed(binary(), subscription()) -> binary().
packed(Tag, #subscription{topics = Topics, retry_topics = Early} = Subscription) ->
    #subscription{start = Start, out_of_range = OutOfRange} = Subscription,
    term_to_binary({Tag, Topics ++ Early, Start, OutOfRange, Early}).

%% @doc Asks the driver, which answers later: the member must not wait for what
%% may stand behind an assignment.
-spec change({change(), [binary()]}, gen_server:from(), port(), subscription()) ->
    {wait, subscription()} | {reply, crema_error:error(), subscription()}.
change({Change, Given}, From, Port, #subscription{topics = Before, asked = Asked} = Subscription) ->
    New = Subscription#subscription{topics = changed(Change, Given, Before)},
    case crema_port:ask_async(Port, ?CMD_SUBSCRIBE, fun(Tag) -> packed(Tag, New) end) of
        {ok, Ref} -> {wait, New#subscription{asked = Asked#{Ref => {From, Before}}}};
        {error, _} = Error -> {reply, Error, Subscription}
    end.

-spec changed(change(), [binary()], [binary()]) -> [binary()].
changed(replace, Given, _Before) -> Given;
changed(add, Given, Before) -> lists:uniq(Before ++ Given);
changed(remove, Given, Before) -> Before -- Given.

%% @doc Takes the driver's answer from the member's mailbox.
-spec answered(term(), subscription()) -> {ok, subscription()} | unknown.
answered({Ref, Bytes}, #subscription{asked = Asked} = Subscription) when is_map_key(Ref, Asked) ->
    {{From, Before}, Rest} = maps:take(Ref, Asked),
    Left = Subscription#subscription{asked = Rest},
    case crema_port:answer(Bytes) of
        ok ->
            gen_server:reply(From, ok),
            {ok, Left};
        {error, _} = Error ->
            gen_server:reply(From, Error),
            {ok, Left#subscription{topics = Before}}
    end;
answered(_, _Subscription) ->
    unknown.
