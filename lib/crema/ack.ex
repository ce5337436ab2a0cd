defmodule Crema.Ack do
  @moduledoc """
  What becomes of messages whose handler returned `{:noack, state}`, from any process and any node.

      :ok = Crema.ack(message)
      :ok = Crema.ack([one.token, another])
      :ok = Crema.nack(message, :not_saved)
      :ok = Crema.delegate(message, worker)

  A message or its `:token` will do, or a list of them, of any partitions and consumers. A token is
  good for as long as the partition stays assigned; `{:error, {:stale_assignment, _}}` means that it
  no longer is, and that the next owner of the partition gets the message again. Of a list all
  others are told, and `{:error, {:not_acknowledged, %{failed: failed}}}` has those that were refused,
  each with its reason.
  """

  use Crema.Bang

  @typedoc "Messages or their tokens."
  @type tokens :: one | [one]
  @type one :: Crema.Consumer.message() | :crema_consumer.token()

  @doc "They are done with. A second time is fine."
  @spec ack(tokens) :: :ok | Crema.error()
  def ack(tokens), do: :crema.ack(tokens)

  @doc """
  The same; a consumer on another node has `timeout` milliseconds to answer (5_000), else it is
  `{:error, {:timeout, _}}`, and to ask again does no harm.
  """
  @spec ack(tokens, timeout) :: :ok | Crema.error()
  def ack(tokens, timeout), do: :crema.ack(tokens, timeout)

  @doc """
  They failed, and come again as after `{:error, reason, state}`. Those that are acknowledged do
  not.
  """
  @spec nack(tokens, reason :: term) :: :ok | Crema.error()
  def nack(tokens, reason \\ :nack), do: :crema.nack(tokens, reason)

  @doc """
  Leaves their acknowledgement to a process: if it dies before, they have failed and come again.
  """
  @spec delegate(tokens, pid) :: :ok
  def delegate(tokens, pid), do: :crema.delegate(tokens, pid)
end
