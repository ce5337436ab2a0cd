defmodule Crema.DeadLetter do
  @moduledoc """
  Messages that a consumer sent on because they failed: to a dead-letter topic or to a retry topic.

      defmodule MyApp.OrderHandler do
        use Crema.Consumer,
          group: "orders",
          topics: ["orders"],
          failures: [
            {MyApp.NotAnOrder, retries: 0, then: :dead_letter},
            {:default, retries: 3, then: :retry_topic}
          ],
          retry_topics: [{"orders-soon", 5_000}, {"orders-later", 60_000}],
          dead_letter: "orders-dead"

        @impl true
        def handle_message(message, state) do
          :ok = MyApp.Orders.store!(message.value)
          {:ack, state}
        end
      end

  They keep key, value and headers; where they come from and why is in headers of their own, which
  `origin/1` reads.
  """

  @typedoc "What the headers say. Times are milliseconds since 1970."
  @type origin :: %{
          topic: binary,
          partition: non_neg_integer,
          offset: non_neg_integer,
          timestamp: integer,
          group: binary,
          failure: binary,
          reason: binary,
          attempts: pos_integer,
          time: integer
        }

  @doc """
  Where a message comes from that was sent on: its topic, partition, offset and timestamp, the
  group whose consumer sent it, the kind of failure (`"crash"`, `"timeout"` or `"returned"`) and
  more of the reason, how often it was handled and when it was sent on. `:none` of another message.
  """
  @spec origin(Crema.Consumer.message()) :: {:ok, origin} | :none
  def origin(message), do: :crema_dead_letter.origin(message)
end
