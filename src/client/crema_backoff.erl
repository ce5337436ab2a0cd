%% @private Exponential back-off with jitter.
-module(crema_backoff).

-export([delay/3]).

%% @doc The wait before the attempt after that many failures, in milliseconds:
%% doubled from Min up to Max, and then between half of it and all of it, so
%% that those who failed together do not come again together.
-spec delay(Failures :: pos_integer(), Min :: non_neg_integer(), Max :: non_neg_integer()) ->
    non_neg_integer().
delay(Failures, Min, Max) ->
    Full = min(Max, Min bsl min(Failures - 1, 30)),
    Full - rand:uniform(Full div 2 + 1) + 1.
