%% @private Names and passwords that change while a client runs.
%%
%% They take the place of those in the options of whoever owns a client, so that its next
%% client has them, too; and in what is kept of a pool, or of a consumer, for those that their
%% supervisors start again.
-module(crema_credentials).

-export([set/3, change/4, of_pool/2]).

-include("../port/crema_commands.hrl").

-define(KEYS, [<<"sasl.username">>, <<"sasl.password">>]).

%% The two properties, in a function: they hold a secret.
-type hidden() :: fun(() -> crema_properties:properties()).

%% ---- whoever asks -------------------------------------------------------------------

%% @doc See {@link crema_sasl:set_credentials/2}.
-spec set(crema_registry:ref(), binary(), crema_secret:secret()) -> ok | crema_error:error().
set(Client, Username, Password) ->
    Hidden = fun() -> maps:from_list(lists:zip(?KEYS, [Username, Password])) end,
    Set = fun(Each) -> set_one(Each, Hidden) end,
    case crema_registry:pool(Client) of
        {ok, Pool, _, _} ->
            Before = crema_registry:noted(Pool, ?MODULE, fun maps:new/0),
            ok = crema_registry:note(Pool, ?MODULE, Hidden),
            Result = crema_target:each(Client, Set),
            ok = crema_registry:note(Pool, ?MODULE, kept(Result, Hidden, Before)),
            Result;
        none ->
            crema_target:each(Client, Set)
    end.

-spec kept(ok | crema_error:error(), hidden(), hidden()) -> hidden().
kept(ok, Hidden, _Before) -> Hidden;
kept(_Error, _Hidden, Before) -> Before.

%% What hangs on a client is told after it. That has those that follow from the client's
%% options by now; whoever cannot be told is about to end, or logs in in another way.
-spec set_one(crema_target:target(), hidden()) -> ok | crema_error:error().
set_one({crema_variant, _, _, _, _} = Variant, Hidden) ->
    set_one(crema_variant:producer(Variant), Hidden);
set_one(Client, Hidden) ->
    case crema_registry:lookup(Client) of
        {ok, Kind, _, _, Owner} when Kind =:= producer; Kind =:= consumer ->
            case tell(Owner, Hidden) of
                ok -> lists:foreach(fun({Pid, Own}) -> tell(Pid, Own) end, others(Kind, Client, Owner));
                {error, _} = Error -> Error
            end;
        _ ->
            crema_registry:missing(client, Client)
    end.

-spec others(producer | consumer, crema_registry:ref(), pid()) -> [{pid(), hidden()}].
others(producer, _Client, Owner) ->
    [{Pid, part(crema_own:changes(Owner, Config))} || {Config, Pid} <- crema_registry:owns(Owner)];
others(consumer, Client, _Owner) ->
    Consumer = crema_registry:whereis_name(Client),
    [
        {Pid, part(crema_dead_letter_sup:changes(Consumer))}
     || Pid <- [crema_dead_letter_sup:producer(Consumer)], is_pid(Pid)
    ] ++
        [
            {Pid, part(fun() -> crema_exactly_once_options:producer(Options()) end)}
         || {producer, Pid, _, _} <- children(Consumer),
            Options <- [crema_group:renewed(Consumer)],
            is_pid(Pid)
        ].

-spec children(pid()) -> [tuple()].
children(Consumer) ->
    try
        supervisor:which_children(Consumer)
    catch
        exit:_ -> []
    end.

-spec part(fun(() -> map())) -> hidden().
part(Options) ->
    fun() ->
        {Kafka, _} = crema_properties:parse(producer, maps:get(kafka, Options(), #{})),
        maps:with(?KEYS, Kafka)
    end.

-spec tell(pid(), hidden()) -> ok | crema_error:error().
tell(Owner, Hidden) ->
    case crema_child:works_for_one([Owner]) of
        true ->
            crema_error:make(busy, "an event handler cannot wait for its own client", #{});
        false ->
            try
                gen_server:call(Owner, {set_credentials, Hidden}, infinity)
            catch
                exit:_ -> crema_registry:missing(client, Owner)
            end
    end.

%% ---- the process of a client ---------------------------------------------------------

%% @doc Tells the client, if there is one, and puts them into its options. `Renewal' is one
%% that is under way.
-spec change(Renewal :: none | term(), crema_port:client() | none, hidden(), Options) ->
    {ok | crema_error:error(), Options}
when
    Options :: map().
change(none, Port, Hidden, #{kafka := Kafka} = Options) ->
    New = maps:merge(Kafka, Hidden()),
    case command(Port, [crema_secret:reveal(Key, maps:get(Key, New, <<>>)) || Key <- ?KEYS]) of
        ok -> {ok, own(Options#{kafka := New})};
        {error, _} = Error -> {Error, Options}
    end;
change(_Renewal, _Port, _Hidden, Options) ->
    {crema_renewal:busy("a new client is being made"), Options}.

%% A renewal is not to read them from elsewhere.
-spec own(map()) -> map().
own(#{sources := Sources} = Options) ->
    Options#{sources := maps:merge(Sources, maps:from_keys([{kafka, Key} || Key <- ?KEYS], option))};
own(Options) ->
    Options.

-spec command(crema_port:client() | none, [{ok, binary()} | {error, atom()}]) -> ok | crema_error:error().
command(none, [{ok, _}, {ok, _}]) ->
    ok;
command(Port, [{ok, Username}, {ok, Password}]) ->
    case crema_port:command(Port, ?CMD_SET_CREDENTIALS, term_to_binary({Username, Password})) of
        ok -> ok;
        {error, _} = Error -> Error
    end;
command(_Port, _) ->
    Text = "the password is a function that raised, or that returned no text",
    crema_error:make(bad_options, Text, #{}).

%% @doc The options of a pool's member that is started.
-spec of_pool(pid(), Options) -> Options when Options :: map().
of_pool(Pool, Options) ->
    case (crema_registry:noted(Pool, ?MODULE, fun maps:new/0))() of
        None when map_size(None) =:= 0 -> Options;
        Set -> Options#{kafka => maps:merge(maps:get(kafka, Options, #{}), Set)}
    end.
