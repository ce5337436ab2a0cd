%% What the suites of failures share: handlers that fail, and policies.
-module(crema_ct_failure).

-export([failing/2, returning/1, started/4, policy/2]).

%% @doc A handler that tells the caller of each message before it fails with those
%% numbers.
failing(Numbers, How) ->
    Self = self(),
    fun(Message, State) ->
        Self ! {handled, self(), Message},
        case lists:member(crema_ct_consume:number(Message), Numbers) of
            true -> How(State);
            false -> {ack, State}
        end
    end.

%% @doc That it fails by returning an error.
returning(Reason) -> fun(State) -> {error, Reason, State} end.

%% @doc A consumer with that handler, and short waits.
started(Config, Topic, Handle, Options) ->
    Given = maps:merge(crema_ct_consume:quick(), Options),
    crema_ct:consumer(Config, Topic, #{handle => Handle, to => self()}, Given).

policy(Retries, Then) -> #{retries => Retries, then => Then}.
