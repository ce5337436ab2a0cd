%% @doc Other certificates, passwords and addresses for a producer or a consumer that
%% runs: a new client takes the place of the old one, below the same processes.
%%
%% What is given as a function, in files (`ssl.*.location') or in the environment is
%% read anew, so that {@link renew/1} needs no options where those have changed. The
%% new client must reach a broker first; if it does not, the old one goes on as if
%% nothing had been asked. See docs/renewal.md.
-module(crema_renewal).

-include("../port/crema_commands.hrl").

-export([renew/1, renew/2, renew/3]).
-export([start/5, handle/2, options/1, port/1, done/2, failed/2, busy/1]).

-export_type([changes/0, trial/0, open/0]).

-type changes() :: #{kafka => map() | list(), bootstrap_servers => term()} | list().
%% `kafka': properties that are put over those of before; an empty value is none.

%% A new client that is to prove that it can connect.
-record(trial, {
    kind :: producer | consumer,
    port :: port() | pid(),
    asked :: crema_port:tag(),
    from :: gen_server:from(),
    options :: map(),
    %% until it is the client
    token :: none | crema_token:keeper(),
    began = crema_deadline:now() :: integer(),
    %% what it has told of, and what its owner is told when it is the client
    trouble = none :: none | crema_error:reason(),
    brokers = crema_brokers:new() :: crema_brokers:brokers(),
    later = [] :: [term()]
}).
-opaque trial() :: #trial{}.
-type open() :: fun((Options :: map()) -> {ok, port() | pid(), binary()} | crema_error:error()).

-define(CONNECT_MS, 30000).
-define(MAX_MS, 16#7FFFFFFF).
%% With another of these it would be another producer, or another member.
-define(FIXED, [<<"transactional.id">>, <<"group.instance.id">>, <<"group.protocol">>]).

%% ---- whoever asks -------------------------------------------------------------------

%% @equiv renew(Client, #{}, 30000)
-spec renew(crema_types:client()) -> ok | crema_error:error().
renew(Client) ->
    renew(Client, #{}).

%% @equiv renew(Client, Changes, 30000)
-spec renew(crema_types:client(), changes()) -> ok | crema_error:error().
renew(Client, Changes) ->
    renew(Client, Changes, ?CONNECT_MS).

%% @doc Renews the client of a producer, of each producer of a pool, or of a
%% consumer with its producer of dead letters. The new client has so many
%% milliseconds to reach a broker.
%%
%% `ok': the new one has taken over; a consumer's has asked to join its group
%% (`crema:await_ready/2' waits for its partitions). Otherwise the old one goes on:
%% `bad_options' for what is refused of the changes; what has kept the new one from
%% connecting; `busy' while a transaction is open, or another renewal or a reload
%% under way; `unsupported_feature' of a consumer with `commit => exactly_once', or with
%% both `commit => external' and `concurrency'; `bad_call' from a handler or a callback of the client itself.
%%
%% A process that its supervisor starts again has the options of its specification
%% again: what is to outlast that is given as a function, a file or a variable.
-spec renew(crema_types:client(), changes(), Timeout :: pos_integer()) ->
    ok | crema_error:error().
renew(Client, Changes, Timeout) when is_integer(Timeout), Timeout > 0, Timeout =< ?MAX_MS ->
    %% In a function, which no report shows.
    Hidden = fun() -> Changes end,
    crema_target:each(Client, fun(Each) -> renew_one(Each, Hidden, Timeout) end);
renew(Client, Changes, Timeout) ->
    Text = <<"not a number of milliseconds">>,
    %% Somebody may have given them in another order.
    Hidden = [crema_secret:hide(Given) || Given <- [Client, Changes, Timeout]],
    erlang:error(badarg, Hidden, crema_error:badarg(#{3 => Text})).

-spec renew_one(crema_types:client(), fun(() -> changes()), pos_integer()) ->
    ok | crema_error:error().
renew_one(Client, Hidden, Timeout) ->
    case crema_registry:lookup(Client) of
        {ok, Kind, _, _, Owner} when Kind =:= producer; Kind =:= consumer ->
            case crema_child:works_for_one([Owner]) of
                true -> crema_error:make(bad_call, "a client is not renewed from within", #{});
                false -> first(steps(Client, Kind, Owner, {renew, Hidden, Timeout}))
            end;
        {ok, Kind, _, _, _} ->
            Text = ["a ", atom_to_list(Kind), " is not renewed: start it anew"],
            crema_error:make(unsupported_feature, Text, #{});
        not_started ->
            crema_registry:missing(client, Client)
    end.

%% What hangs on a client is renewed after it, as it is then.
-spec steps(crema_types:client(), crema_registry:kind(), pid(), term()) ->
    [fun(() -> ok | crema_error:error())].
steps(Client, producer, Owner, {renew, _, Timeout} = Request) ->
    Own = fun({Config, Pid}) ->
        fun() -> call(Client, Pid, {renew, crema_own:changes(Owner, Config), Timeout}) end
    end,
    [
        fun() -> call(Client, Owner, Request) end,
        fun() -> first([Own(Each) || Each <- crema_registry:owns(Owner)]) end
    ];
steps(Client, consumer, Owner, {renew, _, Timeout} = Request) ->
    Consumer = crema_registry:whereis_name(Client),
    [
        fun() -> call(Client, Owner, Request) end,
        fun() ->
            case crema_dead_letter_sup:producer(Consumer) of
                none -> ok;
                Producer -> renew_one(Producer, crema_dead_letter_sup:changes(Consumer), Timeout)
            end
        end
    ].

-spec first([fun(() -> ok | crema_error:error())]) -> ok | crema_error:error().
first([]) ->
    ok;
first([Step | Steps]) ->
    case Step() of
        ok -> first(Steps);
        {error, _} = Error -> Error
    end.

-spec call(crema_types:client(), pid(), term()) -> ok | crema_error:error().
call(Client, Owner, Request) ->
    try
        gen_server:call(Owner, Request, infinity)
    catch
        exit:_ -> crema_registry:missing(client, Client)
    end.

%% ---- the process of the client ------------------------------------------------------

%% @private Opens the new client, and asks for the cluster's brokers.
-spec start(producer | consumer, {fun(() -> changes()), pos_integer()}, map(), open(), From) ->
    {ok, trial()} | crema_error:error()
when
    From :: gen_server:from().
start(Kind, {Changes, Timeout}, Before, Open, From) ->
    case changed(Kind, Changes(), Before) of
        {ok, Options} ->
            case Open(Options) of
                {ok, Port, _} -> ask(Timeout, Kind, Port, From, Options);
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

-spec ask(pos_integer(), producer | consumer, port() | pid(), gen_server:from(), map()) ->
    {ok, trial()} | crema_error:error().
ask(Timeout, Kind, Port, From, Options) ->
    Data = fun(Tag) -> term_to_binary({Tag, <<>>, 0, Timeout}) end,
    case crema_port:ask_async(Port, ?CMD_METADATA, Data) of
        {ok, Ref} ->
            {ok, #trial{
                kind = Kind,
                port = Port,
                asked = Ref,
                from = From,
                options = Options,
                token = crema_token:start(Port, #{client => self(), name => name(Options)}, Options)
            }};
        {error, _} = Error ->
            ok = crema_port:close(Port),
            Error
    end.

%% @private Takes what is for the new client from the mailbox of its process.
-spec handle(term(), trial()) -> connected | {ok, trial()} | {failed, crema_error:reason()} | unknown.
handle({Ref, Bytes}, #trial{asked = Ref} = Trial) ->
    case crema_port:answer(Bytes) of
        {ok, _} -> connected;
        {error, Reason} -> {failed, trouble(Reason, Trial)}
    end;
handle({crema_event, Port, Bytes} = Message, #trial{port = Port, later = Later} = Trial) ->
    case crema_port:event(Bytes) of
        {error, {all_brokers_down, _} = Reason} -> down(Reason, Trial);
        {error, Reason} -> {ok, said(Reason, Trial)};
        {broker, Facility, Text, Why} -> {ok, heard(Facility, Text, Why, Trial)};
        {certificates, _} -> {ok, Trial#trial{later = [Message | Later]}};
        _ -> {ok, Trial}
    end;
handle({crema_token, Pid, {_, _} = Reason}, #trial{token = {Pid, _, _}} = Trial) ->
    {ok, Trial#trial{trouble = Reason}};
handle({'EXIT', Port, _}, #trial{port = Port} = Trial) ->
    {error, Reason} = crema_error:make(closed, "the new client has ended", #{}),
    {failed, trouble(Reason, Trial)};
handle(_, _Trial) ->
    unknown.

%% Who was refused will be again. Anything else may pass: a name has several addresses,
%% a broker starts.
-spec down(crema_error:reason(), trial()) -> {ok, trial()} | {failed, crema_error:reason()}.
down(Reason, #trial{trouble = {_, #{cause := Cause}}} = Trial) when
    Cause =:= tls; Cause =:= authentication; Cause =:= mechanism
->
    {failed, trouble(Reason, Trial)};
down(_Reason, Trial) ->
    {ok, Trial}.

%% Of a connection more is heard.
-spec said(crema_error:reason(), trial()) -> trial().
said(Reason, #trial{trouble = Trouble} = Trial) ->
    case Trouble =/= none andalso crema_brokers:is_heard(Reason) of
        true -> Trial;
        false -> Trial#trial{trouble = Reason}
    end.

-spec heard(binary(), binary(), binary(), trial()) -> trial().
heard(Facility, Text, Why, #trial{brokers = Brokers, options = Options} = Trial) ->
    case crema_brokers:heard(Facility, Text, false, Brokers) of
        {trouble, _, Trouble, _, New} ->
            Reason = crema_brokers:reason(Trouble, Why, crema_client:login_hint(Options)),
            Trial#trial{brokers = New, trouble = Reason};
        {_, New} ->
            Trial#trial{brokers = New}
    end.

-spec name(map()) -> term().
name(#{name := Name}) -> crema_child:shown_name(Name).

-spec trouble(crema_error:reason(), trial()) -> crema_error:reason().
trouble(Reason, #trial{trouble = none}) -> not_renewed(Reason);
trouble(_Reason, #trial{trouble = Trouble}) -> not_renewed(Trouble).

-spec not_renewed(crema_error:reason()) -> crema_error:reason().
not_renewed({Code, #{message := Text} = Details}) ->
    All = ["not renewed, and all is as it was: the new client reaches no broker: ", Text],
    {error, Reason} = crema_error:make(Code, All, Details, <<>>),
    Reason.

%% @private
-spec options(trial()) -> map().
options(#trial{options = Options}) -> Options.

%% @private
-spec port(trial()) -> port() | pid().
port(#trial{port = Port}) -> Port.

%% @private It has taken over.
-spec done(map(), trial()) -> ok.
done(Metadata, #trial{port = Port, from = From, token = Token, began = Began, later = Later}) ->
    ok = crema_token:stop(Token),
    %% Its end was not the client's, while the old one was waited for.
    Ended = [{'EXIT', Port, closed} || not crema_port:is_open(Port)],
    _ = [self() ! Message || Message <- Later ++ Ended],
    Measured = #{duration => crema_deadline:now() - Began},
    ok = crema_events:execute([crema, client, renewed], Measured, Metadata),
    gen_server:reply(From, ok).

%% @private It is given up.
-spec failed(crema_error:reason(), trial()) -> ok.
failed(Reason, #trial{port = Port, from = From}) ->
    _ = crema_client:close_async(Port),
    gen_server:reply(From, {error, Reason}).

%% @private
-spec busy(Text :: iodata()) -> crema_error:error().
busy(Text) ->
    crema_error:make(busy, Text, #{retriable => true}).

%% ---- options -------------------------------------------------------------------------

-spec changed(producer | consumer, term(), map()) -> {ok, map()} | crema_error:error().
changed(Kind, Changes, #{kafka := Before} = Options) ->
    case crema_input:pairs(Changes) of
        {ok, Pairs, []} ->
            Given = maps:from_list(Pairs),
            {Kafka, Faults} = crema_properties:parse(Kind, maps:get(kafka, Given, #{})),
            Wrong = [fault(Option) || Option <- maps:keys(Given), not is_changeable(Option)],
            Fixed = [fault({kafka, Key}) || Key <- ?FIXED, differs(Key, Kafka, Before)],
            case Faults ++ Wrong ++ Fixed of
                [] -> read(Kind, Given#{kafka => Kafka}, Options);
                All -> crema_option_faults:error(Kind, All)
            end;
        _ ->
            Reason = <<"must be a map, property list or keyword list">>,
            crema_option_faults:error(Kind, [#{option => options, reason => Reason}])
    end.

-spec is_changeable(term()) -> boolean().
is_changeable(Option) -> lists:member(Option, [kafka, bootstrap_servers]).

-spec differs(binary(), map(), map()) -> boolean().
differs(Key, Kafka, Before) ->
    is_map_key(Key, Kafka) andalso maps:find(Key, Kafka) =/= maps:find(Key, Before).

-spec fault(term()) -> crema_input:fault().
fault(Option) ->
    #{option => Option, reason => <<"cannot be changed by a renewal">>}.

-spec over(crema_properties:properties(), crema_properties:properties()) ->
    crema_properties:properties().
over(New, Before) ->
    Names = [crema_properties:canonical(Name) || Name <- maps:keys(New)],
    IsOther = fun(Name, _) -> not lists:member(crema_properties:canonical(Name), Names) end,
    maps:merge(maps:filter(IsOther, Before), New).

%% How the cluster is reached is read anew, wherever it came from, and nothing else: with
%% another group, prefix or id it would be another client. One that crema has for itself
%% has nothing of the environment.
-spec read(producer | consumer, map(), map()) -> {ok, map()} | crema_error:error().
read(Kind, Given, #{sources := _, kafka := Before} = Options) ->
    Same = maps:without([kafka, bootstrap_servers], Options),
    case crema_settings:parse(Kind, merged(Given, maps:merge(Same, crema_settings:given(Options)))) of
        {ok, #{kafka := Kafka} = Parsed} ->
            Fixed = maps:with(?FIXED, Before),
            {ok, Parsed#{kafka := maps:merge(maps:without(?FIXED, Kafka), Fixed)}};
        {error, _} = Error ->
            Error
    end;
read(Kind, Given, Options) ->
    crema_options:parse(Kind, merged(Given, Options)).

%% Addresses among the properties are those of the option.
-spec merged(map(), map()) -> map().
merged(#{kafka := Kafka} = Given, Options) ->
    Kept =
        case crema_properties:find(<<"bootstrap.servers">>, Kafka) of
            none -> Options;
            _ -> maps:remove(bootstrap_servers, Options)
        end,
    maps:merge(Kept, Given#{kafka := over(Kafka, maps:get(kafka, Options, #{}))}).
