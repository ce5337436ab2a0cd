%% What is wrong in the environment, in options, and in certificates and keys is told at
%% the start: by the variable or key, at once, before anything is connected to, and with
%% no secret in anything that can be read.
-module(crema_broken_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include("crema_ct_secrets.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_testcase/2, end_per_testcase/2]).
-export([inputs/1]).
-export([init/1]).

%% How long an answer may take.
-define(MILLIS, 200).
-define(INPUTS, 60).

suite() -> [{timetrap, {seconds, 60}}].

all() -> [inputs].

init_per_suite(Config) -> crema_ct:start(Config, none).

end_per_suite(Config) -> crema_ct:stop(Config).

init_per_testcase(_, Config) -> [{look, crema_ct_secrets:look()} | Config].

end_per_testcase(_, Config) ->
    crema_ct:cleanup(),
    crema_ct_secrets:look_away(proplists:get_value(look, Config)).

inputs(Config) ->
    %% Each of them, given as options and by variables, to a start and to a supervisor.
    process_flag(trap_exit, true),
    Look = proplists:get_value(look, Config),
    {ok, Socket} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(Socket),
    Address = "127.0.0.1:" ++ integer_to_list(Port),
    Made = crema_ct_broken_pem:made(Config),
    Pems = crema_ct_broken_pem:table(Made, proplists:get_value(priv_dir, Config)),
    Others = crema_ct_broken:of_env(Address),
    Rows = lists:append([
        Others,
        crema_ct_broken_pem:of_options(Pems, Address),
        crema_ct_broken_pem:of_env(Pems, Address)
    ]),
    ?assert(length(Pems) + length(Others) >= ?INPUTS),
    {Slowest, What} = lists:max([{told(Row, Look), element(1, Row)} || Row <- Rows]),
    ?assertEqual({error, timeout}, gen_tcp:accept(Socket, 0)),
    ?assertEqual([], crema_ct_secrets:shown(crema_ct_secrets:everywhere(Look), Look)),
    ct:pal("~b broken inputs, ~b with each way to give them; the slowest took ~b us: ~0tp", [
        length(Pems) + length(Others), length(Rows), Slowest, What
    ]).

%% In how many microseconds.
told({What, Kind, Options, Variables, Names, Says}, Look) ->
    crema_ct_broken:with(with_secret(Options, Variables), fun() ->
        {Micros, {error, {_, #{message := Message}} = Reason} = Error} = quickest(Kind, Options, 10),
        ?assertMatch({_, {_, _}}, {What, find(Message, Names)}),
        ?assertMatch({_, {_, _}}, {What, find(Message, Says)}),
        Spec = (module(Kind)):child_spec(Options),
        Supervised = supervisor:start_link(?MODULE, [Spec]),
        ?assertMatch({What, {error, _}}, {What, Supervised}),
        ?assertMatch([_ | _], crema_ct_secrets:lines("start_error", Look)),
        Seen = [
            Error, crema_error:format(Reason), Spec, Supervised,
            crema:explain_config({Kind, Options}), crema:explain_config(Spec)
        ],
        ?assertEqual({What, []}, {What, crema_ct_secrets:shown(Seen, Look)}),
        true = crema_ct_secrets:forget(Look),
        Micros
    end).

%% The best of a few: the machine may be busy.
quickest(Kind, Options, Tries) ->
    case timer:tc(module(Kind), start_link, [Options]) of
        {Micros, _} when Micros > ?MILLIS * 1000, Tries > 1 -> quickest(Kind, Options, Tries - 1);
        {Micros, Result} when Micros =< ?MILLIS * 1000 -> {Micros, Result}
    end.

module(producer) -> crema_producer;
module(consumer) -> crema_consumer.

%% Where variables are read one of them holds a secret, unless that would be no fault.
with_secret(Options, Variables) ->
    case lists:keyfind(env, 1, Options) of
        {env, heroku} -> [{"KAFKA_CLIENT_CERT_KEY_PASSPHRASE", ?MARKER} | Variables];
        {env, {prefix, "K"}} ->
            Sasl = [Name || {"K_SASL_" ++ _ = Name, _} <- Variables],
            [{"K_SASL_PASSWORD", ?MARKER} || Sasl =:= []] ++ Variables;
        _ -> Variables
    end.

find(Text, Part) -> binary:match(Text, unicode:characters_to_binary(Part)).

init(Children) ->
    {ok, {#{intensity => 0}, Children}}.
