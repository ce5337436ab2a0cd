%% A handler that writes down what it does before it does it, and acknowledges in the way of
%% its style: see crema_chaos_setup and crema_chaos_history.
-module(crema_chaos_handler).
-behaviour(crema_consumer).

-export([init/2, handle_message/2, terminate/2]).
%% For crema_chaos_batches.
-export([handling/2, told/3, take_time/0, message/1]).
-export([acknowledge/3]).

%% Of a thousand messages so many crash their handler, fail, and take their time: up to so
%% many milliseconds.
-define(CRASH, 1).
-define(FAIL, 2).
-define(FAILING, 50).
-define(SLOW, 5).
-define(SLOW_MS, 200).
%% So many wait to be acknowledged out of order, for at most so long.
-define(PILE, 20).
-define(PATIENCE, 50).

init(#{topic := Topic, partition := Partition, consumer := Consumer}, Args) ->
    #{folder := Folder, style := Style, seed := Seed, life := Life} = Args,
    %% Another one each time: who has crashed at its first message would again.
    Number = erlang:phash2({Topic, Partition, erlang:unique_integer()}),
    _ = rand:seed(exsss, {Seed, Life, Number}),
    Writer = crema_chaos_history:open(Folder),
    Member = crema_chaos_app:member(Consumer, Args, Writer),
    State = Args#{writer => Writer, member => Member, slot => none, place => {Topic, Partition}},
    {ok, helped(Style, State)}.

%% Who acknowledges for the handler ends with it: what is left then comes again.
helped(later, #{folder := Folder, member := Member} = State) ->
    State#{acknowledger => spawn(?MODULE, acknowledge, [self(), Folder, Member])};
helped(_, State) ->
    State.

handle_message(#{offset := Offset} = Message, State0) ->
    State = handling([Message], State0),
    take_time(),
    #{style := Style} = State,
    case rand:uniform(1000) of
        N when N =< ?CRASH ->
            told(crashed, [], State),
            exit(planned);
        N when N =< ?FAIL; Style =:= failing, N =< ?FAILING ->
            told(failed, [Offset], State),
            {error, planned, State};
        _ ->
            answer(Style, Message, State)
    end.

answer(later, #{token := Token}, #{acknowledger := Acknowledger} = State) ->
    Acknowledger ! {later, Token},
    {noack, State};
answer(copy, #{offset := Offset, partition := Partition, key := Key, value := Value}, State) ->
    told(acknowledged, [Offset], State),
    Copy = #{topic => <<"copies">>, partition => Partition, key => Key, value => Value},
    {produce, [Copy], State};
answer(_, #{offset := Offset}, State) ->
    told(acknowledged, [Offset], State),
    {ack, State}.

%% A partition that is given up with several workers is left by one after another.
terminate(Why, #{slot := Slot} = State) when Slot =/= none ->
    case {Why, State} of
        {_, #{worker := _}} -> ok;
        {Why, _} when Why =:= revoked; Why =:= lost; Why =:= stopped -> told(unassigned, Why, State);
        _ -> ok
    end;
terminate(_Why, _State) ->
    ok.

%% @doc Writes down what is about to be handled, and of which slot the handler is.
handling([#{token := {crema_token, _, Slot, _}} | _] = Messages, #{slot := Slot} = State) ->
    #{member := Member, writer := Writer, place := {Topic, Partition}} = State,
    crema_chaos_history:write(Writer, #{
        what => handling, member => Member, slot => Slot, topic => Topic, partition => Partition,
        messages => [{Offset, message(Value)} || #{offset := Offset, value := Value} <- Messages]
    }),
    State;
handling([#{token := {crema_token, _, Slot, _}} | _] = Messages, State) ->
    #{member := Member, writer := Writer, place := {Topic, Partition}, handlers := Handlers} = State,
    true = ets:insert(Handlers, {self(), Member, Slot}),
    crema_chaos_history:write(Writer, #{
        what => assigned, member => Member, slot => Slot, topic => Topic, partition => Partition
    }),
    handling(Messages, State#{slot := Slot}).

%% @doc The name in a message's value.
message(Value) ->
    [Process, Number, _] = binary:split(Value, <<"/">>, [global]),
    {binary_to_integer(Process), binary_to_integer(Number)}.

%% @doc Writes down what comes of it.
told(What, About, #{writer := Writer, member := Member, slot := Slot}) ->
    Entry = #{what => What, member => Member, slot => Slot},
    crema_chaos_history:write(Writer, case What of
        crashed -> Entry;
        unassigned -> Entry#{why => About};
        _ -> Entry#{offsets => About}
    end).

%% @doc Most are quick.
take_time() ->
    case rand:uniform(1000) of
        N when N =< ?SLOW ->
            receive
            after rand:uniform(?SLOW_MS) -> ok
            end;
        _ ->
            ok
    end.

%% @private
acknowledge(Handler, Folder, Member) ->
    _ = erlang:monitor(process, Handler),
    pile([], Member, crema_chaos_history:open(Folder)).

pile(Pile, Member, Writer) ->
    receive
        {later, Token} when length(Pile) < ?PILE ->
            pile([{rand:uniform(), Token} | Pile], Member, Writer);
        {'DOWN', _, _, _, _} ->
            ok
    after case length(Pile) of ?PILE -> 0; 0 -> infinity; _ -> ?PATIENCE end ->
        [acknowledged(Token, Member, Writer) || {_, Token} <- lists:sort(Pile)],
        pile([], Member, Writer)
    end.

acknowledged({crema_token, _, Slot, Offset} = Token, Member, Writer) ->
    Entry = #{member => Member, slot => Slot, offsets => [Offset]},
    crema_chaos_history:write(Writer, Entry#{what => acknowledged}),
    case crema:ack(Token) of
        ok -> ok;
        {error, _} -> crema_chaos_history:write(Writer, Entry#{what => ack_refused})
    end.
