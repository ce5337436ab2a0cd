%% A program that ends while messages are outstanding, run in a node of its own
%% by crema_exit_SUITE. It is an application, for init:stop/0 to stop.
-module(crema_ct_exit).
-behaviour(application).
-behaviour(supervisor).

-export([main/1]).
-export([start/2, stop/1, init/1]).

%% @doc How to end, the brokers, the producer's flush_timeout, the linger, the
%% topic.
main(["halt_while_opening" = How, Bootstrap | _]) ->
    {ok, _} = application:ensure_all_started(crypto),
    _ = crypto:strong_rand_bytes(1),
    {ok, _} = application:ensure_all_started(crema),
    Main = self(),
    _ = [spawn_link(fun() -> open(Bootstrap, Main) end) || _ <- lists:seq(1, 4)],
    receive
        opened -> ok
    end,
    end_by(How);
main([How, Bootstrap, Flush, Linger, Topic]) ->
    Options = #{
        name => ?MODULE,
        bootstrap_servers => Bootstrap,
        flush_timeout => list_to_integer(Flush),
        kafka => #{'linger.ms' => Linger}
    },
    ok = application:load(
        {application, ?MODULE, [
            {applications, [kernel, stdlib, crema]},
            {mod, {?MODULE, Options}},
            {registered, [?MODULE]}
        ]}
    ),
    {ok, _} = application:ensure_all_started(?MODULE),
    Messages = [#{topic => Topic, value => integer_to_binary(N)} || N <- lists:seq(1, 1000)],
    ok = crema:produce_many_async(?MODULE, Messages, #{report => none}),
    #{accepted := 1000} = crema:info(?MODULE),
    end_by(How).

%% Over and over.
open(Bootstrap, Main) ->
    Kafka = #{'security.protocol' => ssl},
    Options = #{bootstrap_servers => Bootstrap, kafka => Kafka},
    {ok, Producer} = crema_producer:start_link(Options),
    Main ! opened,
    ok = crema_producer:stop(Producer),
    open(Bootstrap, Main).

%% Output still under way is lost by some ways to end: wait for an answer.
end_by(How) ->
    "go\n" = io:get_line("ready\n"),
    finish(How).

finish("stop") -> init:stop();
finish("halt_while_opening") -> halt(0);
finish("halt") -> halt(0);
finish("halt_without_flush") -> halt(0, [{flush, false}]).

start(_Type, Options) ->
    supervisor:start_link(?MODULE, Options).

stop(_State) ->
    ok.

init(Options) ->
    {ok, {#{}, [crema_producer:child_spec(Options)]}}.
