%% Does with one message after another all that a handler can do, by its offset.
-module(crema_soak_handler).
-behaviour(crema_consumer).

-export([init/2, handle_message/2, handle_info/2, handle_revoked/2, terminate/2]).

init(#{partition := Partition}, _Args) ->
    {ok, #{partition => Partition, again => none}}.

handle_message(#{offset := Offset} = Message, State) ->
    handle(Offset rem 200, Message, State).

handle(10, Message, State) ->
    _ = spawn(fun() -> crema:ack(Message) end),
    {noack, State};
handle(20, #{token := Token} = Message, State) ->
    ok = crema:delegate(Message, spawn(fun() -> crema:ack(binary_to_term(term_to_binary(Token))) end)),
    {noack, State};
handle(30, Message, State) ->
    %% Whoever it is left to dies: it comes again, and becomes a dead letter then.
    ok = crema:delegate(Message, spawn(fun() -> ok end)),
    {noack, State};
handle(40, Message, State) ->
    _ = spawn(fun() -> crema:nack(Message, planned) end),
    {noack, State};
handle(50, _, State) ->
    {error, planned, State};
handle(60, _, _) ->
    error(planned);
handle(70, #{offset := Offset}, #{again := Again} = State) when Again =/= Offset ->
    {retry, 10, State#{again := Offset}};
handle(80, _, State) ->
    {skip, planned, State};
handle(90, _, State) ->
    {pause, 10, State};
handle(100, _, State) ->
    {dead_letter, planned, State};
handle(110, _, _) ->
    exit(self(), kill);
handle(120, #{value := Value} = Message, State) ->
    self() ! {later, Message#{value := binary:copy(Value)}},
    {noack, State};
handle(_, _, State) ->
    {ack, State}.

handle_info({later, Message}, State) ->
    _ = crema:ack(Message),
    {ok, State}.

handle_revoked(_Info, State) -> {ok, State}.

terminate(_Why, _State) -> ok.
